"""A job for tests: what becomes of a parcel is what its kind says."""
