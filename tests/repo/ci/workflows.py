"""Steps of the workflows and actions in .github."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stack.jobs import ROOT

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
ACTIONS = sorted((FOLDER / "actions").glob("*/action.yml"))

Mapping = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One step, and its place: `ci.yml: publish`, `setup`."""

    place: str
    content: Mapping

    @property
    def run(self) -> str:
        """Command, empty for a step that uses an action."""
        return str(self.content.get("run", ""))

    @property
    def uses(self) -> str:
        """Action, empty for a step that runs a command."""
        return str(self.content.get("uses", ""))

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the step, with unevaluated expressions."""
        return dict(self.content.get("env", {}))


def read(path: Path) -> Mapping:
    """Parse a file of .github."""
    content: Mapping = yaml.safe_load(path.read_text())
    return content


def jobs(path: Path) -> dict[str, Mapping]:
    """Return the jobs of a workflow."""
    return dict(read(path)["jobs"])


def triggers(path: Path) -> Mapping:
    """Return the events that start a workflow. YAML reads their key `on` as a Boolean."""
    content: dict[Any, Mapping] = yaml.safe_load(path.read_text())
    return content[True]


def steps() -> Iterator[Step]:
    """Yield every step of every workflow and action."""
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            yield from (Step(f"{path.name}: {name}", step) for step in job.get("steps", []))
    for path in ACTIONS:
        yield from (Step(path.parent.name, step) for step in read(path)["runs"]["steps"])


def step_of(script: str) -> Step:
    """Return the first step that runs `script`."""
    return next(step for step in steps() if step.run == script)


def holds(condition: str, outputs: dict[str, str]) -> bool:
    """Evaluate an `if:` that compares outputs of the job `plan` with texts, joined by `&&`.

    One that also holds after a skipped job says so before that.
    """
    condition = condition.removeprefix("${{ !failure() && !cancelled() && ").removesuffix(" }}")
    compared = re.findall(r"needs\.plan\.outputs\.(\w+) == '(\w+)'", condition)
    assert " && ".join(f"needs.plan.outputs.{name} == '{value}'" for name, value in compared) == condition
    return all(outputs[name] == value for name, value in compared)
