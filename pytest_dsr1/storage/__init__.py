"""Files: atomic writes, locks, and the envelope of saved documents."""
