"""A job for tests: the kind of a parcel says what the handler does."""
