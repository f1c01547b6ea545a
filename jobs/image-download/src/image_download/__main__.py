"""Runs the job: `python -m image_download`."""

from image_download.job import JOB
from keda_jobs import run

if __name__ == "__main__":
    run(JOB)
