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
from event_files.files import event_files
from job_files.render import job_files
from keda_jobs.domain.subjects import covers
from keda_jobs.jetstream.declaration import delayed_source
from new_job.kinds import Plan
from new_job.plan import Refused
from new_job.template import write_files
from stack.jobs import ROOT

STREAM = "jobs/stream.json"


def make(plan: Plan, root: Path = ROOT) -> list[str]:
    """Add the job to `jobs`, its events to the document of all and to the stream. Return the changed paths.

    Raises `Refused`, and `SourceError` when other jobs could not read what it sends.
    """
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
            events = [file for file in event_files(root) if file.is_stale]
            for file in events:
                file.write()
            (scratch / "stream.json").replace(stream)
    shared = [str(file.path.relative_to(root)) for file in events if file.path.parent == root / "jobs"]
    return [f"jobs/{plan.name}", *shared, *([STREAM] if after != before else [])]


def _write(plan: Plan, folder: Path, root: Path) -> None:
    write_files(plan, folder)
    shutil.copy(root / "requirements" / f"{plan.lock}.txt", folder / "requirements.txt")
    alone = folder.parents[1]
    for file in chain(settings_docs.pages(alone), job_files(alone)):
        file.write()


def _with_subject(stream: str, subject: str) -> str:
    """Add the subject to the text of stream.json, and its transform for delayed events. Change nothing else."""
    if any(covers(pattern, subject) for pattern in json.loads(stream)["subjects"]):
        return stream
    [transform] = delayed_source([subject])["subject_transforms"]
    line = f'{{ "src": "{transform["src"]}", "dest": "{transform["dest"]}" }}'
    changed, named = re.subn(r'("subjects":\s*\[[^\]]*?)("dead-letter")', rf'\1"{subject}", \2', stream, count=1)
    # After the last transform of the list.
    last = r'( +)(\{ "src": "delay\.fire\.[^}]*\})(\n *\])'
    changed, sourced = re.subn(last, rf"\1\2,\n\1{line}\3", changed, count=1)
    if not (named and sourced):
        raise Refused(f'{STREAM} has no place for the subject: add it to "subjects", and {line} to the sources')
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
