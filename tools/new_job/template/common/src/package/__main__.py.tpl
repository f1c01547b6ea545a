"""Start of the job: `python -m <package>`."""

from <package>.job import JOB
from keda_jobs import run

if __name__ == "__main__":
    run(JOB)
