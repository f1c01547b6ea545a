"""`make demo`: real pictures through the real jobs, and some that no picture can come of."""
