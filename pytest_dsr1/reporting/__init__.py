"""How it is shown: terminal, progress, JUnit."""
