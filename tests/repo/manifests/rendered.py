"""Every manifest of the repository, found by its name and rendered as users apply it, and the pods that it makes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stack.jobs import ROOT

Object = dict[str, Any]

BASE = ROOT / "k8s/kustomize/base"
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

    @property
    def name(self) -> str:
        """Path in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def objects(self) -> list[Object]:
        """Rendered objects. Raises `AssertionError` with kubectl's error."""
        text = _rendered(self.path) if self.path.is_dir() else self.path.read_text()
        return [thing for thing in _documents(text) if thing]


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
def _rendered(folder: Path) -> str:
    if _is_component(folder):
        with tempfile.TemporaryDirectory() as scratch:
            return _kustomize(_with_base(folder, Path(scratch).resolve()))
    return _kustomize(folder)


def _is_component(folder: Path) -> bool:
    return bool(yaml.safe_load((folder / "kustomization.yaml").read_text())["kind"] == "Component")


def _with_base(component: Path, folder: Path) -> Path:
    """Make a kustomization that applies a component, which only changes others, to base."""
    resources, components = (os.path.relpath(path, folder) for path in (BASE, component))
    (folder / "kustomization.yaml").write_text(f"resources: [{resources}]\ncomponents: [{components}]\n")
    return folder


def _kustomize(folder: Path) -> str:
    ended = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"kubectl kustomize {folder}: {ended.stderr}"
    return ended.stdout


def _found() -> Iterator[Source]:
    for pattern in ("k8s/**/kustomization.yaml", "jobs/*/kustomization.yaml"):
        yield from (Source(path.parent) for path in sorted(ROOT.glob(pattern)))
    yield from (Source(path) for path in sorted(ROOT.glob("jobs/*/service.yaml")))


SOURCES = list(_found())
