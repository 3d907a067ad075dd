"""The gate: recorded runs, references, the plan and the decision."""
