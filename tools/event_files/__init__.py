"""Events of all jobs as files: a JSON Schema for each job and event, and one AsyncAPI document."""
