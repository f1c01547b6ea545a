"""Job users-batch: users in a table are validated and normalised, millions at a time."""
