"""Starts a worker: `python -m steered_batch`."""

from keda_jobs.batch import run_batch

from .job import JOB

if __name__ == "__main__":
    run_batch(JOB)
