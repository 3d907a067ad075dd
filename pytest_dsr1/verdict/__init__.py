"""What it means: targets, validity, and the gate against accepted references."""
