"""What the documents say to type, and the trees that they draw."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stack.jobs import ROOT

TO_TYPE = [ROOT / name for name in ("README.md", "CLAUDE.md", "CONTRIBUTING.md")] + sorted(
    [*ROOT.glob("docs/*.md"), *ROOT.glob("jobs/*/README.md")]
)
# What k8s/README.md says to type is run on a cluster: tests/e2e/test_7_documents.py.
ALL = [*TO_TYPE, ROOT / "k8s/README.md", ROOT / "k8s/monitoring/RUNBOOK.md", ROOT / "SECURITY.md"]

_BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANY_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = (
    r"make|keda-jobs|[\w-]+-seed|nats|jq|gh|git|docker|kubectl|cp|export|\.|python|(?:\./)?[\w.-]+/\S+\.sh|\.ci/run"
)
_COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:{_PROGRAM})(?= |$)")


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the document it stands in."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands(path: Path) -> list[Command]:
    """The commands of a document: lines of its blocks, without their comments, and what stands in backticks."""
    text = path.read_text()
    lines = "".join(_BLOCK.findall(text)).splitlines()
    quoted = re.findall(r"`([^`\n]+)`", _ANY_BLOCK.sub("", text))
    found = [re.sub(r"\s{2,}#.*", "", line) for line in lines] + quoted
    typed = [one for one in found if _COMMAND.match(one) and not re.fullmatch(r"[\w.-]+", one)]
    return [Command(path.relative_to(ROOT).as_posix(), one) for one in dict.fromkeys(typed)]


def targets(command: str) -> list[tuple[Path, str]]:
    """The Makefiles and targets that a command names."""
    found = []
    for part in re.split(r"&&|\|", command):
        if not part.strip().startswith("make "):
            continue
        words = shlex.split(part)
        folder = ROOT / words[words.index("-C") + 1] if "-C" in words else ROOT
        named = [word for word in words[3 if "-C" in words else 1 :] if "=" not in word and not word.startswith("-")]
        found += [(folder / "Makefile", name) for name in named]
    return found


def tree(path: Path, heading: str) -> str:
    """The first block below a heading."""
    below = path.read_text().split(f"## {heading}\n", 1)[1]
    return str(_BLOCK.findall(below)[0])


def names(block: str) -> list[str]:
    """What a tree names by a folder's slash or a file's ending; `{a,b}` is each of both, `<job>` any."""
    expanded = dict.fromkeys(one for word in block.split() for one in _expanded(word))
    words = [word for one in expanded for word in re.split(r"[,;:()]", one)]
    return [one for one in words if re.fullmatch(r"[\w.*/-]*(/|\.(sh|py|json|yaml|toml|txt|md|tpl|template))", one)]


@cache
def tracked() -> list[str]:
    """The files of this work tree that git knows or would take."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in listed.splitlines() if (ROOT / path).exists()]


def is_there(name: str) -> bool:
    """Whether there is a path that ends in `name`, a folder's or a file's."""
    pattern = re.escape(name.rstrip("/")).replace(r"\*", "[^/]+")
    return any(re.search(rf"(^|/){pattern}(/|$)", path) for path in tracked())


def rooms(folder: str) -> set[str]:
    """The names in a folder of what git has, folders with a slash."""
    inside = [path.removeprefix(folder) for path in tracked() if path.startswith(folder)]
    return {path.split("/")[0] + ("/" if "/" in path else "") for path in inside}


def _expanded(word: str) -> list[str]:
    """`a/{b,c/{d,e}}/f` in full, innermost braces first; `<x>` as a star."""
    word = re.sub(r"<[^>]+>", "*", word)
    if not (inner := re.search(r"\{([^{}]*)\}", word)):
        return [word]
    before, after = word[: inner.start()], word[inner.end() :]
    return [one for part in inner[1].split(",") for one in _expanded(before + part.strip() + after)]
