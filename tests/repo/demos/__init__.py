"""Tests of `make demo`: both scenarios as a person runs them, in processes and folders of their own."""
