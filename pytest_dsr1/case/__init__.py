"""Everything known about one scenario, shared by all reports."""
