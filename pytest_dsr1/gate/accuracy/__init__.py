"""Answers compared with those of accepted references."""
