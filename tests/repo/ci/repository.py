"""Git repository for one test, with the jobs and build files of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names

ONE = job_names(EventJob)[0]


class Repository:
    """Git repository of one test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def with_jobs(cls, path: Path) -> Repository:
        """Create a repository with the jobs and build files of this one: one commit, tagged `base`, on `main`."""
        repository = cls(path)
        for source in _listed("jobs", "shared-py/src", "tools", "k8s", ".dockerignore", "README.md"):
            target = path / source
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
        repository.git("init", "--quiet", "--initial-branch", "main")
        repository.commit()
        repository.git("tag", "base")
        return repository

    def git(self, *arguments: str) -> str:
        """Run git without the settings of this machine and return its output."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        nobody = {f"GIT_{who}_{what}": "a@b.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {**own, **nobody, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        command = ["git", "-C", str(self.path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def commit(self) -> str:
        """Commit everything and return the new commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A change")
        return self.git("rev-parse", "HEAD")

    def touch(self, path: str) -> None:
        """Change or create a file."""
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + "\n")

    def new_job(self, name: str) -> None:
        """Add a job like `ONE`."""
        shutil.copytree(self.path / "jobs" / ONE, self.path / "jobs" / name)
        dockerfile = self.path / "jobs" / name / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace(ONE, name))


def _listed(*paths: str) -> list[str]:
    """List the tracked and untracked files of this work tree."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", *paths]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in listed.split("\0") if path and (ROOT / path).is_file()]
