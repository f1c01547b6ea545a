"""Tells which jobs a change touches: those whose image or manifests are another than at the commit it starts from.

A job is a folder of `jobs/` with a Dockerfile. A path touches it when its image has the path (a COPY names it and
.dockerignore lets it through), when it lies in the job's folder beside `src` and `tests`, and when every build uses it.
Documents and tests touch none. Work that is not committed yet counts too.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
# They shape every image, or what it is built and tried with, and are in none.
BUILD_FILES = re.compile(r"\.dockerignore|Makefile|tools/build\.sh|requirements/.+|shared-py/pyproject\.toml")
# Applied by k8s/setup-scripts/setup-all.sh, whose rights who deploys a job does not have.
SET_UP = re.compile(r"jobs/(stream\.json|[^/]+/consumer\.json)")


class NoBase(Exception):
    """There is nothing to compare with; the text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a change touches: `jobs` to build and deploy, `deleted` ones, and the files that a new setup applies."""

    jobs: list[str]
    deleted: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ignored:
    """The patterns of a .dockerignore; the last that matches a path, or a folder it lies in, decides."""

    patterns: list[tuple[re.Pattern[str], bool]]

    @classmethod
    def read(cls, path: Path) -> Ignored:
        """The patterns of a file; none when there is no file."""
        lines = path.read_text().splitlines() if path.is_file() else []
        wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return cls([(_expression(line.lstrip("!").strip("/")), not line.startswith("!")) for line in wanted])

    def has(self, path: str) -> bool:
        """Whether the build context lacks `path`."""
        deciding = (leaves_out for pattern, leaves_out in reversed(self.patterns) if _lies_in(pattern, path))
        return next(deciding, False)


def all_jobs(root: Path = ROOT) -> list[str]:
    """The names of all jobs."""
    return sorted(path.parent.name for path in root.glob("jobs/*/Dockerfile"))


def copied(dockerfile: str) -> list[str]:
    """The paths of the build context that a Dockerfile copies; what comes from another stage is none."""
    joined = re.sub(r"\\\n", " ", dockerfile)
    instructions = re.findall(r"^\s*(?:COPY|ADD)\s+(.+)$", joined, re.MULTILINE | re.IGNORECASE)
    words = [_operands(instruction) for instruction in instructions if "--from=" not in instruction]
    # What a variable stands for is not known here: it may be anything.
    sources = [re.sub(r"\$(\w+|{[^}]+})", "**", source) for operands in words for source in operands[:-1]]
    return [source.removeprefix("./").strip("/") or "." for source in sources]


def changed(base: str, root: Path = ROOT) -> Change:
    """What the work tree touches since it left `base`. Raises `NoBase`."""
    fork = _fork(base, root)
    # A rename is a path that went and one that came: both may touch a job.
    paths = _git(root, "diff", "--name-only", "--no-renames", "-z", fork).split("\0")
    paths += _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    before = _git(root, "ls-tree", "-r", "-z", "--name-only", fork, "jobs").split("\0")
    then = {path.split("/")[1] for path in before if re.fullmatch(r"jobs/[^/]+/Dockerfile", path)}
    return Change(
        jobs=touched({path for path in paths if path}, root),
        deleted=sorted(then - set(all_jobs(root))),
        setup=sorted({path for path in paths if SET_UP.fullmatch(path)}),
    )


def touched(paths: set[str], root: Path = ROOT) -> list[str]:
    """The jobs that a change of `paths` touches."""
    if any(map(BUILD_FILES.fullmatch, paths)):
        return all_jobs(root)
    ignored = Ignored.read(root / ".dockerignore")
    sent = {path for path in paths if not ignored.has(path)}
    return [
        job
        for job in all_jobs(root)
        if any(_is_own(job, path) for path in paths) or any(_is_in_image(job, path, root) for path in sent)
    ]


def _is_own(job: str, path: str) -> bool:
    """Whether `path` belongs to the job without being in its image: Dockerfile, manifests, consumer …"""
    rest = path.removeprefix(f"jobs/{job}/")
    return rest != path and not rest.startswith(("src/", "tests/")) and not rest.endswith(".md")


def _is_in_image(job: str, path: str, root: Path) -> bool:
    """Whether the job's Dockerfile copies `path`."""
    sources = copied((root / "jobs" / job / "Dockerfile").read_text())
    return any(_lies_in(_expression(source), path) for source in sources)


def _operands(instruction: str) -> list[str]:
    if instruction.startswith("["):
        return [str(word) for word in json.loads(instruction)]
    return [word for word in shlex.split(instruction) if not word.startswith("--")]


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of Docker's: `*` stays inside a name, `**` is any number of folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))


def _lies_in(pattern: re.Pattern[str], path: str) -> bool:
    """Whether `pattern` means `path` or a folder that it lies in."""
    return any(pattern.fullmatch(str(part)) for part in (PurePosixPath(path), *PurePosixPath(path).parents))


def _fork(base: str, root: Path) -> str:
    """The commit where HEAD left `base`. Raises `NoBase`."""
    if not base.strip("0"):
        raise NoBase("there is no commit to compare with")
    try:
        _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    except subprocess.CalledProcessError:
        raise NoBase(f"'{base}' is no commit of this clone (is it shallow?)") from None
    try:
        return _git(root, "merge-base", base, "HEAD").strip()
    except subprocess.CalledProcessError:
        raise NoBase(f"'{base}' and HEAD have no commit in common (is this clone shallow?)") from None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command line: one job a line, or `--json` for the matrix of a workflow."""
    parser = argparse.ArgumentParser(prog="changed_jobs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", nargs="?", default="origin/main", help="the commit to compare with (origin/main)")
    parser.add_argument("--all", action="store_true", help="every job, whatever changed")
    parser.add_argument("--json", action="store_true", help='{"jobs": […], "any": true, "deleted": […], "setup": […]}')
    options = parser.parse_args(arguments)
    try:
        change = Change(all_jobs(root)) if options.all else changed(options.base, root)
    except NoBase as reason:
        print(f"changed_jobs: {reason}; taking every job", file=sys.stderr)
        change = Change(all_jobs(root))
    _show(change, options.json)
    return 0


def _show(change: Change, as_json: bool) -> None:
    if as_json:
        told = {"jobs": change.jobs, "any": bool(change.jobs), "deleted": change.deleted, "setup": change.setup}
        print(json.dumps(told))
        return
    for job in change.jobs:
        print(job)
    for job in change.deleted:
        print(f"changed_jobs: {job} is deleted: it stays on a cluster until someone deletes it there", file=sys.stderr)
    for path in change.setup:
        print(f"changed_jobs: {path} takes effect by k8s/setup-scripts/setup-all.sh", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
