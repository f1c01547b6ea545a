"""Runs the job: `python -m users_batch`."""

from keda_jobs import run
from users_batch.job import JOB

if __name__ == "__main__":
    run(JOB)
