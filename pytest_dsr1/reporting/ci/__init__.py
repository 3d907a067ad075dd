"""Everything that CI servers read."""
