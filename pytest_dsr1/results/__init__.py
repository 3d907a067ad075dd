"""Saved results for programs: the objects of ``pytest_dsr1.load_results``, and their table."""
