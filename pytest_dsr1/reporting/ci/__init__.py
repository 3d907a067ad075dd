"""What CI servers read."""
