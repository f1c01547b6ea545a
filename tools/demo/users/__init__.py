"""Scenario with users: workers of the batch job on PostgreSQL."""
