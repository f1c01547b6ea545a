"""Job users-batch: validates and normalizes the users of a table."""
