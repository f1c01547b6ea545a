"""Runs a worker: `python -m users_batch`."""

from keda_jobs.batch import run_batch
from users_batch.job import JOB

if __name__ == "__main__":
    run_batch(JOB)
