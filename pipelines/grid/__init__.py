"""Grids: fields of one job set against each other, kept and shown as a page."""
