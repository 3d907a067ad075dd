"""A plugin of pytest-dsr1."""
