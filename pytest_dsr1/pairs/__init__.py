"""Pairs: old and new software in turn on one machine, until it is known which one is faster."""
