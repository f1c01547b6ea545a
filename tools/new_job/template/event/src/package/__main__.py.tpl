"""Starts the job: `python -m <package>`."""

from <package>.handler import handle
from <package>.settings import Settings
from keda_jobs import run

if __name__ == "__main__":
    run(handle, Settings)
