"""Environments that tests make beside the one that all use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import new_env
from environments import OVERLAYS, Environment
from stack.jobs import ROOT

from .cluster import run
from .traffic import events, not_done

DOWNLOAD = "image-download"


@contextmanager
def made(name: str) -> Iterator[None]:
    """Make an environment with test servers of its own, and remove it from this checkout at the end."""
    remove(name)
    new_env.make(name, "test")
    try:
        yield
    finally:
        remove(name)


def remove(name: str) -> None:
    """Remove an environment from this checkout."""
    shutil.rmtree(ROOT / OVERLAYS / name, ignore_errors=True)
    (ROOT / f"k8s/.env.{name}").unlink(missing_ok=True)


def inside(environment: Environment, *command: str, **variables: str) -> str:
    """Run a command of the repository for an environment and return its output. Raises `CommandFailed`."""
    return run(*command, environment={"ENV": environment.environment, **variables})


def publish(environment: Environment, numbers: Sequence[int]) -> None:
    """Publish events for pictures of an environment."""
    for event in events(numbers, servers=environment.test_namespace):
        inside(environment, "k8s/connect.sh", "keda-jobs", "pub", DOWNLOAD, json.dumps(event))


def missing(environment: Environment, numbers: Sequence[int]) -> list[int]:
    """Return the numbers whose picture or thumbnail is not in the environment's store."""
    return not_done(numbers, environment.test_namespace)
