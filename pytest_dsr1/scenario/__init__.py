"""Scenarios: the schema, YAML loading, profiles and overrides."""

SUFFIXES = (".yaml", ".yml")
"""The endings of a scenario file's name; here, because every pytest run looks for them."""
