"""The pods that manifests make, whatever makes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .rendered import Object, shown

# Where each kind keeps its pod, and whether that pod runs until it is told to end.
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
    """A pod, and what makes it."""

    owner: Object
    template: Object

    @property
    def spec(self) -> Object:
        """Its specification."""
        spec: Object = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.template["metadata"]["labels"])

    @property
    def containers(self) -> list[Object]:
        """All of them; those that only prepare come first."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def volumes(self) -> list[Object]:
        """Its volumes."""
        return list(self.spec.get("volumes", ()))

    def __str__(self) -> str:
        return shown(self.owner)


def pods(objects: list[Object]) -> Iterator[PodTemplate]:
    """The pod of each object that makes one."""
    for thing in objects:
        if path := _TEMPLATES.get(thing["kind"]):
            template = thing
            for step in path:
                template = template[step]
            yield PodTemplate(thing, template)
