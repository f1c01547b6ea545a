"""A job for tests: it labels parcels and announces each by an event."""
