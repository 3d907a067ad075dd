"""What the GPUs did during a run."""
