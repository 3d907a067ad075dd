"""The gate: recorded runs, references, the plan, the decision, and the loop of runs."""
