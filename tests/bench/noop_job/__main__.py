"""Program of `python -m noop_job`."""

from keda_jobs import run
from noop_job.job import JOB

if __name__ == "__main__":
    run(JOB)
