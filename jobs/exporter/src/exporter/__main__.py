"""Runs the job: `python -m exporter`."""

from exporter.job import JOB
from keda_jobs import run

if __name__ == "__main__":
    run(JOB)
