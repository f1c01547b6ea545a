"""Starts a worker: `python -m <package>`."""

from <package>.job import JOB
from keda_jobs.batch import run_batch

if __name__ == "__main__":
    run_batch(JOB)
