"""Jobs that a change touches: those whose image or manifests differ from the commit where the change starts.

A job is a folder of `jobs/` with a Dockerfile. The image `keda-jobs-ops`, which is built and published like those of
jobs, counts as one. A path touches a job if its Dockerfile copies the path, or if the path is in the job's folder
outside `src` and `tests`. Files that every build uses touch all jobs. Documents and tests touch none. Uncommitted work
counts.
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
OPS = "keda-jobs-ops"
# They shape, build or test every image, and are in none.
BUILD_FILES = re.compile(
    r"\.dockerignore|Makefile|tools/(build|base-image)\.sh|tools/base-image/.+|requirements/.+|shared-py/pyproject\.toml"
)
# Applied by k8s/setup-scripts/setup-all.sh, with rights that a deploy of a job does not have. cluster/setup_record.py
# compares them with what was applied.
SETUP_FILES = {
    "streams": ("jobs/stream*.json", "jobs/*/consumer.json"),
    "database": ("jobs/*/src/*/migrations/**/*.sql", "shared-py/src/keda_jobs/claims/migrations/**/*.sql"),
    "platform": tuple(
        f"k8s/{folder}/**/*" for folder in ("kustomize/base", "kustomize/components", "kustomize/environment", "nats")
    ),
}


class NoBase(Exception):
    """There is no commit to compare with. The message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Change:
    """Jobs to build and deploy, deleted jobs, and changed files that only a new setup applies."""

    jobs: list[str]
    deleted: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)


def all_jobs(root: Path = ROOT) -> list[str]:
    """List the names of all jobs."""
    return sorted(path.parent.name for path in root.glob("jobs/*/Dockerfile"))


def all_images(root: Path = ROOT) -> list[str]:
    """List the names of all images that are published."""
    return sorted([*all_jobs(root), OPS])


def dockerfile(image: str, root: Path = ROOT) -> Path:
    """Return the Dockerfile of an image."""
    return root / ("tools/ops" if image == OPS else f"jobs/{image}") / "Dockerfile"


def copied(dockerfile: str) -> list[str]:
    """List the paths that a Dockerfile copies from the build context, not from another stage."""
    joined = re.sub(r"\\\n", " ", dockerfile)
    instructions = re.findall(r"^\s*(?:COPY|ADD)\s+(.+)$", joined, re.MULTILINE | re.IGNORECASE)
    words = [_operands(instruction) for instruction in instructions if "--from=" not in instruction]
    # A variable may have any value.
    sources = [re.sub(r"\$(\w+|{[^}]+})", "**", source) for operands in words for source in operands[:-1]]
    return [source.removeprefix("./").strip("/") or "." for source in sources]


def changed(base: str, root: Path = ROOT) -> Change:
    """Compare the work tree with the commit where it left `base`. Raises `NoBase`."""
    fork = _fork(base, root)
    # A rename counts as a deleted and a new path: both may touch a job.
    paths = _git(root, "diff", "--name-only", "--no-renames", "-z", fork).split("\0")
    paths += _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    before = _git(root, "ls-tree", "-r", "-z", "--name-only", fork, "jobs").split("\0")
    then = {path.split("/")[1] for path in before if re.fullmatch(r"jobs/[^/]+/Dockerfile", path)}
    return Change(
        jobs=touched({path for path in paths if path}, root),
        deleted=sorted(then - set(all_jobs(root))),
        setup=sorted(path for path in set(paths) if _is_applied_by_setup(path)),
    )


def touched(paths: set[str], root: Path = ROOT) -> list[str]:
    """List the jobs that a change of `paths` touches."""
    if any(map(BUILD_FILES.fullmatch, paths)):
        return all_images(root)
    sent = {path for path in paths if _is_sent(path, root)}
    return [
        one
        for one in all_images(root)
        if any(_is_own(one, path) for path in paths) or any(_is_in_image(one, path, root) for path in sent)
    ]


def _is_own(image: str, path: str) -> bool:
    """Return whether `path` belongs to the job but not to its image, such as Dockerfile, manifest or consumer."""
    rest = path.removeprefix(f"{dockerfile(image).parent.relative_to(ROOT).as_posix()}/")
    return rest != path and not rest.startswith(("src/", "tests/")) and not rest.endswith(".md")


def _is_applied_by_setup(path: str) -> bool:
    return any(_expression(pattern).fullmatch(path) for patterns in SETUP_FILES.values() for pattern in patterns)


def _is_in_image(image: str, path: str, root: Path) -> bool:
    """Return whether the image's Dockerfile copies `path` or a folder that contains it."""
    return any(_contains(source, path) for source in copied(dockerfile(image, root).read_text()))


def _is_sent(path: str, root: Path) -> bool:
    """Return whether Docker gets `path` at all: the last pattern of .dockerignore that fits decides."""
    lines = (root / ".dockerignore").read_text().splitlines()
    fitting = [line for line in lines if not line.startswith("#") and _contains(line.removeprefix("!"), path)]
    return fitting[-1].startswith("!")


def _contains(pattern: str, path: str) -> bool:
    """Return whether `pattern` fits `path` or a folder that contains it."""
    return any(_expression(pattern).fullmatch(one) for one in (path, *map(str, PurePosixPath(path).parents)))


def _operands(instruction: str) -> list[str]:
    if instruction.startswith("["):
        return [str(word) for word in json.loads(instruction)]
    return [word for word in shlex.split(instruction) if not word.startswith("--")]


def _expression(pattern: str) -> re.Pattern[str]:
    """Translate a pattern of Docker: `*` matches inside a name, `**` matches any number of folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))


def _fork(base: str, root: Path) -> str:
    """Find the commit where HEAD left `base`. Raises `NoBase`."""
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
    """Print one job per line, or with `--json` the matrix of a workflow, and return the exit code."""
    parser = argparse.ArgumentParser(prog="changed_jobs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", nargs="?", default="origin/main", help="commit to compare with (origin/main)")
    parser.add_argument("--all", action="store_true", help="every job, changed or not")
    parser.add_argument("--json", action="store_true", help='{"jobs": […], "any": true, "deleted": […], "setup": […]}')
    options = parser.parse_args(arguments)
    try:
        change = Change(all_images(root)) if options.all else changed(options.base, root)
    except NoBase as reason:
        print(f"changed_jobs: {reason}; taking every job", file=sys.stderr)
        change = Change(all_images(root))
    _print(change, options.json)
    return 0


def _print(change: Change, as_json: bool) -> None:
    if as_json:
        fields = {"jobs": change.jobs, "any": bool(change.jobs), "deleted": change.deleted, "setup": change.setup}
        print(json.dumps(fields))
        return
    for job in change.jobs:
        print(job)
    for job in change.deleted:
        print(f"changed_jobs: {job} is deleted here; delete it on the cluster too", file=sys.stderr)
    for path in change.setup:
        print(f"changed_jobs: {path} takes effect by k8s/setup-scripts/setup-all.sh", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
