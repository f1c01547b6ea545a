"""Documents: commands to type, links, and the tree of folders."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
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
    """Command in a document."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands(path: Path) -> list[Command]:
    """Return the commands of a document: lines of its blocks, without their comments, and what stands in backticks."""
    text = path.read_text()
    lines = "".join(_BLOCK.findall(text)).splitlines()
    quoted = re.findall(r"`([^`\n]+)`", _ANY_BLOCK.sub("", text))
    found = [re.sub(r"\s{2,}#.*", "", line) for line in lines] + quoted
    typed = [one for one in found if _COMMAND.match(one) and not re.fullmatch(r"[\w.-]+", one)]
    return [Command(path.relative_to(ROOT).as_posix(), one) for one in dict.fromkeys(typed)]


def targets(command: str) -> list[tuple[Path, str]]:
    """Return the Makefiles and targets that a command names."""
    found = []
    for part in re.split(r"&&|\|", command):
        if not part.strip().startswith("make "):
            continue
        words = shlex.split(part)
        folder = ROOT / words[words.index("-C") + 1] if "-C" in words else ROOT
        named = [word for word in words[3 if "-C" in words else 1 :] if "=" not in word and not word.startswith("-")]
        found += [(folder / "Makefile", name) for name in named]
    return found


def links(path: Path) -> list[str]:
    """Return where the links of a document lead: files of this repository, headings, or addresses."""
    text = _ANY_BLOCK.sub("", path.read_text())
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _ANY_BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tree() -> list[str]:
    """Return the folders that the tree in CLAUDE.md names."""
    below = (ROOT / "CLAUDE.md").read_text().split("## Tree\n", 1)[1]
    return re.findall(r"^(\S+/) ", _BLOCK.findall(below)[0], re.MULTILINE)
