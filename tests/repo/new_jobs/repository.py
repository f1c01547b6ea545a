"""A copy of the repository in a folder of its own, with this one's installed packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from stack.jobs import ROOT


class Repository:
    """The files that git knows or would take, committed once."""

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
        """Where Python finds the copy's packages, before those that are installed."""
        sources = [self.folder / "tools", self.folder / "shared-py/src", *sorted(self.folder.glob("jobs/*/src"))]
        return ":".join(map(str, sources))

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """What became of `command`, run there with the programs that are installed here."""
        here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": self.python_path}
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**_typed_at_a_shell(), **here, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *command: str, **environment: str) -> str:
        """What `command` prints. Raises `AssertionError` with what it says when it fails."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`make` without `setup`, which would install everything a second time."""
        return self.run("make", "--silent", "--old-file=setup", f"PYTHONPATH={self.python_path}", *words)

    def changes(self) -> list[str]:
        """What git sees that was not there at first."""
        return _output("git", "status", "--porcelain", cwd=self.folder).splitlines()

    def read(self, path: str) -> str:
        """The text of a file."""
        return (self.folder / path).read_text()


def _typed_at_a_shell() -> dict[str, str]:
    """The environment, without what the make that runs these tests tells the makes below it."""
    told = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS")
    return {name: value for name, value in os.environ.items() if name not in told}


def _output(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout
