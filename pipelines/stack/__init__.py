"""Layers as pixels and as files."""
