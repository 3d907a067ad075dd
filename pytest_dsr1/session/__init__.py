"""One pytest session: options, collection, fixtures, and their shared state."""
