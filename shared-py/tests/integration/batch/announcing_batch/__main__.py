"""Start a worker: `python -m announcing_batch`."""

from keda_jobs import run

from .job import JOB

if __name__ == "__main__":
    run(JOB)
