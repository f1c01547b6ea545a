"""The trees that the documents draw are those of the repository."""

from __future__ import annotations

import re

import pytest

from stack.jobs import ROOT

from . import pages

README = pages.tree(ROOT / "README.md", "Where things are")
CLAUDE = pages.tree(ROOT / "CLAUDE.md", "Tree")
JOBS = {f"{path.parent.name}/" for path in ROOT.glob("jobs/*/Dockerfile")}

EACH_TREE = pytest.mark.parametrize("block", [README, CLAUDE], ids=["README", "CLAUDE"])


def missing(there: set[str], block: str) -> set[str]:
    """Which names a tree does not have."""
    return {name for name in there if not re.search(rf"(?<![\w.-]){re.escape(name.rstrip('/'))}(?![\w-])", block)}


@EACH_TREE
def test_what_a_tree_names_is_there(block: str) -> None:
    assert [name for name in pages.names(block) if not pages.is_there(name)] == []


@EACH_TREE
def test_it_has_every_folder_at_the_top(block: str) -> None:
    assert missing({room for room in pages.rooms("") if room.endswith("/")}, block) == set()


@pytest.mark.parametrize("folder", ["jobs/", "k8s/", "tools/", "tests/"])
def test_the_authors_tree_has_every_room(folder: str) -> None:
    assert missing(pages.rooms(folder) - JOBS - {"README.md", "__init__.py"}, CLAUDE) == set()


def test_it_has_every_module_of_the_house() -> None:
    modules = {room.removesuffix(".py") for room in pages.rooms("shared-py/src/keda_jobs/")}
    assert missing(modules - {"__init__", "py.typed"}, CLAUDE) == set()


def test_a_name_in_braces_is_several() -> None:
    assert pages.names("a/{b,c/{d,e}}/  <job>/x.py: words, y.sh (z/)") == [
        "a/b/",
        "a/c/d/",
        "a/c/e/",
        "*/x.py",
        "y.sh",
        "z/",
    ]
