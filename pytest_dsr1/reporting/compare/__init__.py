"""Saved results side by side."""
