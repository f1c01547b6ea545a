"""Links between documents lead somewhere, and the tree in CLAUDE.md names folders that exist."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stack.jobs import ROOT

from . import pages

EACH_PAGE = pytest.mark.parametrize("page", pages.ALL, ids=lambda page: page.relative_to(ROOT).as_posix())


@EACH_PAGE
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    assert [link for link in pages.links(page) if not leads_somewhere(page, link)] == []


def test_every_document_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in pages.links(index)}
    assert {*pages.ALL} - listed - {index} == set()


def test_the_tree_names_folders_that_exist() -> None:
    assert [folder for folder in pages.tree() if not (ROOT / folder).is_dir()] == []


def test_the_tree_has_every_folder_at_the_top() -> None:
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    top = {path.split("/")[0] for path in files if "/" in path}
    assert top == {folder.split("/")[0] for folder in pages.tree()}


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether a relative link leads to a file, and its anchor to a heading of it; addresses are not tried."""
    if link.startswith("https://"):
        return True
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.exists() and (not anchor or anchor in pages.anchors(target))
