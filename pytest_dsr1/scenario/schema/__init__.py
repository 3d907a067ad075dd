"""The scenario schema, as pydantic models."""
