"""What one pytest session does: options, collection, fixtures, and what they share."""
