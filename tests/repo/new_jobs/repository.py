"""Copy of the repository in another folder, with the installed packages of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from stack.jobs import ROOT


class Repository:
    """Tracked and untracked files of the work tree, in one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _output("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT).split("\0"):
            if (source := ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / name)
        _output("git", "init", "--quiet", cwd=folder)
        _output("git", "add", "--all", cwd=folder)
        author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        _output("git", *author, "commit", "--quiet", "--message", "Copied", cwd=folder)

    @property
    def python_path(self) -> str:
        """PYTHONPATH with the copy's packages, before the installed ones."""
        sources = [self.folder / "tools", self.folder / "shared-py/src", *sorted(self.folder.glob("jobs/*/src"))]
        return ":".join(map(str, sources))

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `command` in the copy, with the programs installed here."""
        here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": self.python_path}
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**_shell_environment(), **here, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *command: str, **environment: str) -> str:
        """Run `command` and return its output. Raises `AssertionError` with that output when it fails."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `make` without `setup`, which would install everything again."""
        return self.run("make", "--silent", "--old-file=setup", f"PYTHONPATH={self.python_path}", *words)

    def changes(self) -> list[str]:
        """List the changes that git sees."""
        return _output("git", "status", "--porcelain", cwd=self.folder).splitlines()

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return (self.folder / path).read_text()


def _shell_environment() -> dict[str, str]:
    """Return the environment without the variables that an outer make sets."""
    of_make = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS")
    return {name: value for name, value in os.environ.items() if name not in of_make}


def _output(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout
