"""Clues: why a figure is low."""
