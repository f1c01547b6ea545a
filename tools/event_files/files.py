"""Files of the events, and the refusal of a change that breaks who reads or sends them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from event_files.asyncapi import NAME, document
from event_files.compatibility import refusals
from event_files.views import Role, View, as_text, links, views_of
from generated_files import GeneratedFile, SourceError
from stack.jobs import all_jobs

_ACCEPT = "or, once nobody outside depends on it, delete the file and run `make job-files`"
_REMEDIES = {
    Role.READS: "{job} would refuse what it accepts today, and what the stream still holds: {reasons}; keep accepting "
    f"it, {_ACCEPT}",
    Role.SENDS: "readers of what {job} sends today would fail: {reasons}; keep it, or send it on another subject; "
    f"{_ACCEPT}",
}


def event_files(root: Path) -> Iterator[GeneratedFile]:
    """Build the schemas and the AsyncAPI document. Raises `SourceError` for a change that breaks a reader or sender."""
    jobs = root / "jobs"
    views = views_of(all_jobs(root))
    mistakes = [*_broken_links(views), *_breaking_changes(jobs, views), *_left_over(jobs, views)]
    if mistakes:
        raise SourceError("\n".join(mistakes))
    for view in views:
        yield GeneratedFile(jobs / view.path, view.text())
    yield GeneratedFile(jobs / NAME, as_text(document(views, metadata.version("keda-jobs"))))


def _broken_links(views: Sequence[View]) -> Iterator[str]:
    """Yield a line for each job that may refuse what another sends."""
    for sent, read in links(views):
        reasons = refusals(sent.schema(), read.schema())
        if reasons:
            yield (
                f"{read.job} may refuse {read.subject} as {sent.job} sends it: {'; '.join(reasons)}; change "
                f"the event of {sent.job} back, or let {read.job} accept both"
            )


def _breaking_changes(jobs: Path, views: Sequence[View]) -> Iterator[str]:
    """Yield a line for each view that promises less than its file."""
    new = _new_files(jobs)
    for view in views:
        file = jobs / view.path
        if file in new or not file.is_file():
            continue
        before, after = _read(file), view.schema()
        written, read = (before, after) if view.role is Role.READS else (after, before)
        reasons = refusals(written, read)
        if reasons:
            text = _REMEDIES[view.role].format(job=view.job, reasons="; ".join(reasons))
            yield f"jobs/{view.path}: {text}"


def _new_files(jobs: Path) -> set[Path]:
    """List the files that were never committed, so that nobody depends on them yet. Without git there are none."""
    command = ["git", "ls-files", "--others", "-z", "*/events/*"]
    try:
        output = subprocess.run(command, cwd=jobs, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {jobs / name for name in output.split("\0")}


def _read(file: Path) -> dict[str, object]:
    try:
        schema = json.loads(file.read_text())
    except ValueError as error:
        raise SourceError(f"{file} is not JSON ({error}); restore it from git") from error
    if not isinstance(schema, dict):
        raise SourceError(f"{file} is not a JSON Schema; restore it from git")
    return schema


def _left_over(jobs: Path, views: Sequence[View]) -> Iterator[str]:
    """Yield a line for each file whose job reads or sends no such event any more."""
    files = {jobs / view.path for view in views}
    for file in sorted(jobs.glob("*/events/*/*.json")):
        if file not in files:
            job, _, role, name = file.relative_to(jobs).parts
            yield (
                f"jobs/{file.relative_to(jobs)}: {job} {role} no {name.removesuffix('.json')} any more; bring the "
                f"event back, {_ACCEPT}"
            )
