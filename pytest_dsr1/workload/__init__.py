"""What is sent: checkpoints and datasets."""
