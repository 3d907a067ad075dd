"""The command ``pytest-dsr1``."""
