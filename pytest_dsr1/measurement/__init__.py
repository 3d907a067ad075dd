"""What came out: metrics and saved results."""
