"""What it means: targets and validity."""
