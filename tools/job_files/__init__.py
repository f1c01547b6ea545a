"""`make job-files`: a job's files for images and clusters, from its `JOB`, its `job.toml` and one template a kind."""
