"""Runs the job: `python -m traced_job`."""

from keda_jobs import run

from .job import JOB

if __name__ == "__main__":
    run(JOB)
