"""Rules between the values of a scenario."""
