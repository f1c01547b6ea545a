"""The batch jobs of the repository, as their folders and packages describe them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from keda_jobs.batch import BatchJob, BatchSettings
from stack.jobs import ROOT, package_of


@dataclass(frozen=True, slots=True)
class BatchJobFolder:
    """One job folder."""

    name: str

    @property
    def folder(self) -> Path:
        """`jobs/<job>`."""
        return ROOT / "jobs" / self.name

    @property
    def package(self) -> str:
        """The name it is imported by."""
        return package_of(self.name)

    @property
    def settings(self) -> type[BatchSettings]:
        """Its settings class."""
        settings: type[BatchSettings] = importlib.import_module(f"{self.package}.settings").Settings
        return settings

    @property
    def job(self) -> BatchJob:
        """What its `job` module declares."""
        job: BatchJob = importlib.import_module(f"{self.package}.job").JOB
        return job

    @property
    def migrations(self) -> Traversable:
        """The folder of its migrations, as the installed package has it."""
        return resources.files(self.package) / "migrations"


FOLDERS = [BatchJobFolder(path.name) for path in sorted((ROOT / "jobs").iterdir()) if (path / "src").is_dir()]
BATCH_JOBS = [folder for folder in FOLDERS if folder.job.kind == "batch"]
