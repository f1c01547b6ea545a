"""Command line of `make job-files`: write the files, and the tables of job.toml's keys in docs/job-toml.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from generated_files import GeneratedFile, run
from job_files.docs import page
from job_files.render import job_files
from stack.jobs import ROOT


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return the exit code: 0, 1 for a stale file, 2 for a mistake in a job.toml."""
    return run(_files(root), "make job-files", "Write each job's files.", arguments, root)


def _files(root: Path) -> Iterator[GeneratedFile]:
    yield from job_files(root)
    yield page(root)


if __name__ == "__main__":
    sys.exit(main())
