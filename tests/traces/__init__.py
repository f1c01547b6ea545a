"""Traces through the jobs as they are, and what they cost those who want none."""
