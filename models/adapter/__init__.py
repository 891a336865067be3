"""Adapters: small weights beside a checkpoint, trained alone and used together. Every part is imported by its own name.

`config.py` says what is trained, `attach.py` makes it trainable, `file.py` is how it is kept, and `blend.py` lets
several of them act at once, each on the tokens that it is meant for.
"""
