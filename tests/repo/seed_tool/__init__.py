"""Tests of `users-batch-seed`."""
