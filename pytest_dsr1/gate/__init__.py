"""The gate: recorded and accepted runs, its plan and decisions, and the loop of runs."""
