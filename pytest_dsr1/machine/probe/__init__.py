"""Probes: what the GPUs of a machine can do, measured in seconds. No setting of a GPU is changed."""
