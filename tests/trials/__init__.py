"""Tomorrow's version of a job tried on yesterday's events."""
