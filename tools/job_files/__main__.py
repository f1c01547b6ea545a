"""Command line of `make job-files`: write the files, the schemas of events, and the table in docs/job-toml.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from event_files.files import event_files
from generated_files import GeneratedFile, run
from job_files.docs import page
from job_files.render import job_files, ops_dockerfile
from stack.jobs import ROOT


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return the exit code: 0, 1 for a stale file, 2 for a mistake in a job.toml."""
    what = "Write each job's files, and the Dockerfile of keda-jobs-ops."
    return run(_files(root), "make job-files", what, arguments, root)


def _files(root: Path) -> Iterator[GeneratedFile]:
    yield from job_files(root)
    yield ops_dockerfile(root)
    yield from event_files(root)
    yield page(root)


if __name__ == "__main__":
    sys.exit(main())
