"""Runs the job: `python -m image_resize`."""

from image_resize.job import JOB
from keda_jobs import run

if __name__ == "__main__":
    run(JOB)
