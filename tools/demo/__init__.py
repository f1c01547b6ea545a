"""`make demo`: pictures through the real event jobs, users through the real batch job."""
