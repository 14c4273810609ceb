"""What the service does with a note: store, find, suggest, archive."""
