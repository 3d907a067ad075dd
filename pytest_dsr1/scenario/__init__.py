"""What is measured: the scenario schema, YAML loading, profiles and overrides."""
