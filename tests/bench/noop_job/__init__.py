"""Event job that does nothing, to measure the cost of the library."""
