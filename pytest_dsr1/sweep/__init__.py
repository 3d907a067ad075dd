"""Sweeps: the points of one scenario file, and the curve through them."""
