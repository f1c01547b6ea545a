"""`make demo-batch`: 200 000 users through real workers on a real PostgreSQL, some of them invalid."""
