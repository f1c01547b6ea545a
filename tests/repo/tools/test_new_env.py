"""A new environment has a valid name of its own, and what is wrong with one is a line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import new_env
from environments import FACTS, OVERLAYS, BadEnvironment, load, names
from stack.jobs import ROOT
from stack.process import StackError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Copy the overlays."""
    shutil.copytree(ROOT / OVERLAYS, tmp_path / OVERLAYS)
    return tmp_path


def test_it_is_a_copy_with_facts_of_its_own(root: Path) -> None:
    folder = new_env.make("staging", "prod", root)
    model = root / OVERLAYS / "prod"
    assert "staging" in names(root)
    made = load("staging", root)
    assert made.namespaces == ["keda-jobs-staging", "nats-staging"]
    assert (made.nats_url, made.nats_monitoring) == (
        "nats://nats.nats-staging.svc.cluster.local:4222",
        "nats-headless.nats-staging.svc.cluster.local:8222",
    )
    for file in (path for path in model.rglob("*") if path.is_file() and path != model / FACTS):
        assert (folder / file.relative_to(model)).read_text() == file.read_text()


def test_the_copy_of_one_with_test_servers_has_its_own(root: Path) -> None:
    new_env.make("play", "test", root)
    assert load("play", root).test_namespace == "keda-jobs-play-test"


@pytest.mark.parametrize(
    "name", ["", "Staging", "a_b", "a--b", "-a", "a-", "1a", "é", "../a", "a b", "a.b", "a\n", "a" * 49, "template"]
)
def test_an_invalid_name_is_refused(root: Path, name: str) -> None:
    with pytest.raises(StackError, match=r"no name for an environment|^name the environment"):
        new_env.make(name, "prod", root)


def test_the_longest_name_makes_valid_namespaces(root: Path) -> None:
    new_env.make("a" * 48, "test", root)
    assert max(map(len, load("a" * 48, root).namespaces)) == 63


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("prod", "prod", f"{OVERLAYS}/prod exists already"),
        ("there-test", "prod", "'there-test' is taken: the environment there has the namespace keda-jobs-there-test"),
        ("staging", "nowhere", "there is no environment 'nowhere', there are: prod, test, there"),
    ],
)
def test_what_is_taken_or_missing_is_said(root: Path, name: str, model: str, reason: str) -> None:
    new_env.make("there", "test", root)
    before = sorted(root.rglob("*"))
    with pytest.raises((StackError, BadEnvironment)) as refused:
        new_env.make(name, model, root)
    assert str(refused.value) == reason
    assert sorted(root.rglob("*")) == before
