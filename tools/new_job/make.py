"""Creation of the job: completely or, after a failure, not at all."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import settings_docs
from job_files.render import job_files
from keda_jobs.domain.subjects import covers
from new_job.kinds import Plan
from new_job.plan import Refused
from new_job.template import files
from stack.jobs import ROOT

STREAM = "jobs/stream.json"


def make(plan: Plan, root: Path = ROOT) -> list[str]:
    """Add the job to `jobs` and its subjects to the stream, and return the changed paths. Raises `Refused`."""
    stream = root / STREAM
    before = stream.read_text()
    after = before
    for subject in plan.subjects:
        after = _with_subject(after, subject)
    # In a folder of the repository: a move is atomic only inside one file system.
    with _scratch(root / ".build") as scratch:
        made = scratch / "jobs" / plan.name
        _write(plan, made, root)
        (scratch / "stream.json").write_text(after)
        made.rename(root / "jobs" / plan.name)
        with _removed_on_failure(root / "jobs" / plan.name):
            (scratch / "stream.json").replace(stream)
    return [f"jobs/{plan.name}", *([STREAM] if after != before else [])]


def _write(plan: Plan, folder: Path, root: Path) -> None:
    for path, text in files(plan).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    shutil.copy(root / "requirements" / f"{plan.lock}.txt", folder / "requirements.txt")
    alone = folder.parents[1]
    for file in chain(settings_docs.pages(alone), job_files(alone)):
        file.path.write_text(file.text)


def _with_subject(stream: str, subject: str) -> str:
    """Add the subject to the text of stream.json, before the shared subjects, and change nothing else."""
    subjects = json.loads(stream)["subjects"]
    if any(covers(pattern, subject) for pattern in subjects):
        return stream
    changed = re.sub(r'("subjects":\s*\[[^\]]*?)("dead-letter")', rf'\1"{subject}", \2', stream, count=1)
    if sorted(json.loads(changed)["subjects"]) != sorted([*subjects, subject]):
        raise Refused(f'{STREAM} has no place for the subject: its "subjects" do not name "dead-letter"')
    return changed


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-job-", dir=parent) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _removed_on_failure(job: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(job)
        raise
