"""The claim queue on a real PostgreSQL server."""
