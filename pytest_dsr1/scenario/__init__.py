"""Scenarios: the schema, YAML loading, profiles and overrides."""
