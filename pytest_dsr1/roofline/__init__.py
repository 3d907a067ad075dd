"""The highest figures the GPUs allow."""
