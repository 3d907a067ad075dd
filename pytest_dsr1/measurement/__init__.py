"""Measurements: one run with its metrics, and saved results."""
