"""Pods that manifests of any kind make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .rendered import Object, shown

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
