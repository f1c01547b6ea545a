"""`python -m keda_jobs.cli`."""

from keda_jobs.cli import main

main()
