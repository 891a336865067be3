"""Datasets, objectives, trainer and evaluation; the Papercut world."""
