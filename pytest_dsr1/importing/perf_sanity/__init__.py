"""NVIDIA's perf-sanity files: a module per kind, and what they share."""
