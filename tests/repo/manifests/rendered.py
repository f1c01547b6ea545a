"""Every manifest of the repository, found by its name and rendered as users apply it, and the pods that it makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import new_env
from environments import DEFAULT, OVERLAYS, Environment, load
from stack.jobs import ROOT

Object = dict[str, Any]

BASE = ROOT / "k8s/kustomize/base"
# Namespaces of manifests that no environment has put its own into.
NEUTRAL = ("jobs", "nats", "test-servers")
# Path of the pod template in each kind.
_TEMPLATES = {
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "Job": ("spec", "template"),
    "ScaledJob": ("spec", "jobTargetRef", "template"),
    "StatefulSet": ("spec", "template"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Folder for `kubectl apply -k`, or file for `kubectl apply -f`."""

    path: Path
    root: Path = ROOT

    @property
    def name(self) -> str:
        """Path in the repository."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def environment(self) -> Environment | None:
        """Environment whose names it has, None for neutral ones."""
        if self.path.is_file():
            return load(DEFAULT)
        overlays = self.root / OVERLAYS
        if not self.path.is_relative_to(overlays):
            return None
        return load(self.path.relative_to(overlays).parts[0], self.root)

    @property
    def neutral_names(self) -> dict[str, str]:
        """Neutral name of each of its namespaces."""
        return neutral_names(self.environment) if self.environment else {name: name for name in NEUTRAL}

    @property
    def objects(self) -> list[Object]:
        """Rendered objects. Raises `AssertionError` with kubectl's error."""
        text = _rendered(self.path, self.root) if self.path.is_dir() else self.path.read_text()
        return [thing for thing in _documents(text) if thing]


def neutral_names(environment: Environment) -> dict[str, str]:
    """Return the neutral name of each namespace of an environment."""
    named = (environment.jobs_namespace, environment.nats_namespace, environment.test_namespace)
    return {name: neutral for name, neutral in zip(named, NEUTRAL, strict=True) if name}


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Select the objects of one kind."""
    return [thing for thing in objects if thing["kind"] == kind]


def shown(thing: Object) -> str:
    """Format an object for failures: `Deployment keda-jobs-prod/image-resize`."""
    metadata = thing["metadata"]
    return f"{thing['kind']} {metadata.get('namespace', '-')}/{metadata['name']}"


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """Template of a pod, and its owner."""

    owner: Object
    template: Object

    @property
    def spec(self) -> Object:
        """Specification of the pod."""
        spec: Object = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the pod."""
        return dict(self.template["metadata"]["labels"])

    @property
    def containers(self) -> list[Object]:
        """All containers, init containers first."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def volumes(self) -> list[Object]:
        """Volumes of the pod."""
        return list(self.spec.get("volumes", ()))

    def __str__(self) -> str:
        return shown(self.owner)


def pods(objects: list[Object]) -> Iterator[PodTemplate]:
    """Yield the pod of each object that makes one."""
    for thing in objects:
        if path := _TEMPLATES.get(thing["kind"]):
            template = thing
            for step in path:
                template = template[step]
            yield PodTemplate(thing, template)


def text_files() -> list[Path]:
    """List the source files of the manifests."""
    return sorted([*ROOT.glob("k8s/**/*.yaml"), *ROOT.glob("jobs/*/*.yaml")])


@cache
def _documents(text: str) -> list[Object]:
    return list(yaml.safe_load_all(text))


@cache
def _rendered(folder: Path, root: Path) -> str:
    if yaml.safe_load((folder / "kustomization.yaml").read_text())["kind"] != "Component":
        return _kustomize(folder)
    # It only changes others: that of an environment all jobs, another one the platform.
    of_jobs = folder.name == "environment"
    changed = [path.parent for path in root.glob("jobs/*/service.yaml")] if of_jobs else [BASE]
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch).resolve()
        resources = ", ".join(os.path.relpath(path, here) for path in sorted(changed))
        component = os.path.relpath(folder, here)
        (here / "kustomization.yaml").write_text(f"resources: [{resources}]\ncomponents: [{component}]\n")
        return _kustomize(here)


def _kustomize(folder: Path) -> str:
    ended = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"kubectl kustomize {folder}: {ended.stderr}"
    return ended.stdout


def _found(root: Path, folder: str = "k8s") -> Iterator[Source]:
    for path in sorted(root.glob(f"{folder}/**/kustomization.yaml")):
        # That one configures a transformer of kustomize.
        if path.parent != root / "k8s/kustomize/environment":
            yield Source(path.parent, root)


def _made(model: str, name: str) -> Iterator[Source]:
    """Make an environment in the copy, and yield its overlay."""
    new_env.make(name, model, COPY)
    yield from _found(COPY, f"{OVERLAYS}/{name}")


def _copied(folder: Path) -> Path:
    """Copy the manifests."""
    jobs = [path.parent.relative_to(ROOT) for path in ROOT.glob("jobs/*/service.yaml")]
    for part in [Path("k8s/kustomize"), Path("k8s/nats"), *jobs]:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("src", "tests"))
    return folder


_SCRATCH = tempfile.TemporaryDirectory()
COPY = _copied(Path(_SCRATCH.name).resolve())
MADE = [*_made("prod", "made"), *_made("test", "made-with-servers")]
JOB_FILES = [Source(path) for path in sorted(ROOT.glob("jobs/*/service.yaml"))]
SOURCES = [*_found(ROOT), *_found(ROOT, "jobs"), *JOB_FILES, *MADE]
