"""The steady figure of a run and its error."""
