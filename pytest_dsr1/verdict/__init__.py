"""Verdicts: targets, validity, and the exit status."""
