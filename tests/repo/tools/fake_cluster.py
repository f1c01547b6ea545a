"""Cluster in memory, as far as the tools of tools/cluster ask one about Secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cluster import bootstrap, certificates, connect, kubernetes, owned, secrets, setup_record

Object = dict[str, Any]


class FakeCluster:
    """Secrets and other objects by namespace and name. `on_apply` sees what is applied."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], Object] = {}
        self.others: list[Object] = []
        self.on_apply: Callable[[Object], None] = lambda _: None

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put this in place of kubectl."""
        for module in (bootstrap, certificates, connect, kubernetes, owned, secrets, setup_record):
            monkeypatch.setattr(module, "kubectl", self.kubectl)

    def kubectl(self, verb: str, *arguments: str, given: str = "") -> str:
        """Answer like kubectl does."""
        if verb == "apply":
            self._apply(json.loads(given))
            return ""
        if "statefulset/nats" in arguments:
            return "1"
        if "--filename=-" in arguments:
            asked = [owned.place_of(one) for one in json.loads(given)["items"]]
            return json.dumps({"items": [self.secrets[place] for place in asked if place in self.secrets]})
        [namespace] = [one.removeprefix("--namespace=") for one in arguments if one.startswith("--namespace=")]
        if labels := [one.removeprefix("--selector=") for one in arguments if one.startswith("--selector=")]:
            return json.dumps({"items": list(self._labelled(namespace, labels[0]))})
        place = namespace, arguments[1]
        found = self.configs.get(place) if arguments[0] == "configmap" else self.secrets.get(place)
        return json.dumps(found) if found else ""

    @property
    def configs(self) -> dict[tuple[str, str], Object]:
        """ConfigMaps as they were applied last."""
        return {owned.place_of(one): one for one in self.others if one["kind"] == "ConfigMap"}

    def _labelled(self, namespace: str, label: str) -> list[Object]:
        inside = [one for (place, _), one in self.secrets.items() if place == namespace]
        return [one for one in inside if label in one["metadata"].get("labels", {})]

    def _apply(self, applied: Object) -> None:
        for one in applied.get("items", [applied]):
            if one["kind"] == "Secret":
                self.secrets[owned.place_of(one)] = one
            else:
                self.others.append(one)
            self.on_apply(one)
