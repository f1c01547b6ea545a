"""Environments: the folders of k8s/kustomize/overlays, and the facts of each in its `environment/environment.env`.

The variable ENV names the one that a command is about. As a program, this prints its facts for k8s/environment.sh.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT = "prod"
"""Environment of commands without ENV, whose names `jobs/*/service.yaml` have."""

OVERLAYS = "k8s/kustomize/overlays"
FACTS = "environment/environment.env"
ROOT = Path(__file__).resolve().parent.parent
# `template` is taken: k8s/.env.template.
NAME = re.compile(r"(?!template$)[a-z][a-z0-9]*(-[a-z0-9]+)*")

_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(r"\S+")
_CONTEXT = re.compile(r"[^\x00-\x1f\x7f'\"\\]*")


class BadEnvironment(Exception):
    """There is no such environment, or its file is wrong. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Facts of one environment. Each field is a key of its file, in small letters."""

    environment: str
    jobs_namespace: str
    nats_namespace: str
    """Namespace of our NATS, empty where the environment uses one of yours."""
    nats_url: str
    nats_monitoring: str
    test_namespace: str
    """Namespace of the test servers, empty where there are none."""
    kube_context: str
    """Context of kubectl, empty for the current one."""

    @property
    def namespaces(self) -> list[str]:
        """Namespaces of its own."""
        return [name for name in (self.jobs_namespace, self.nats_namespace, self.test_namespace) if name]

    @property
    def env_file(self) -> Path:
        """Default file of its credentials."""
        return ROOT / ("k8s/.env" if self.environment == DEFAULT else f"k8s/.env.{self.environment}")


_VALUES = {
    "environment": NAME,
    "jobs_namespace": _NAMESPACE,
    "nats_namespace": _NAMESPACE,
    "nats_url": _ADDRESS,
    "nats_monitoring": _ADDRESS,
    "test_namespace": _NAMESPACE,
    "kube_context": _CONTEXT,
}
_MAY_BE_EMPTY = {"nats_namespace", "test_namespace", "kube_context"}
_FOR_SHELLS = ("jobs_namespace", "nats_namespace", "test_namespace", "kube_context")


def names(root: Path = ROOT) -> list[str]:
    """List the environments that there are."""
    found = (file.parents[1].name for file in root.glob(f"{OVERLAYS}/*/{FACTS}"))
    return sorted(name for name in found if NAME.fullmatch(name))


def current() -> Environment:
    """Load the environment that ENV names. Raises `BadEnvironment`."""
    if not (ROOT / OVERLAYS).is_dir():  # in an image, where the pod's variables are the facts
        facts = {name.upper(): os.environ.get(name.upper(), "") for name in _VALUES}
        return parse("\n".join(f"{key}={value}" for key, value in facts.items()), "the pod")
    return load(os.environ.get("ENV") or DEFAULT, ROOT)


def load(name: str, root: Path = ROOT) -> Environment:
    """Load an environment. Raises `BadEnvironment`."""
    if name not in names(root):
        raise BadEnvironment(f"there is no environment {name!r}, there are: {', '.join(names(root))}")
    shown = f"{OVERLAYS}/{name}/{FACTS}"
    try:
        text = (root / shown).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadEnvironment(f"{shown} cannot be read: {error}") from error
    found = parse(text, shown)
    if found.environment != name:
        raise BadEnvironment(f"{shown}: ENVIRONMENT is {found.environment!r}, write the folder's name {name!r}")
    return found


def parse(text: str, shown: str) -> Environment:
    """Parse the text of a file that messages call `shown`. Raises `BadEnvironment`."""
    values: dict[str, str] = {}
    for number, key, value in _lines(text, shown):
        name = key.lower()
        if name not in _VALUES:
            known = ", ".join(map(str.upper, _VALUES))
            raise BadEnvironment(f"{shown}, line {number}: unknown key {key}, write one of {known}")
        if name in values:
            raise BadEnvironment(f"{shown}, line {number}: {key} again, leave one of the lines")
        if value and not _VALUES[name].fullmatch(value):
            raise BadEnvironment(f"{shown}, line {number}: {key} cannot be {value!r}, write no quotes and blanks")
        values[name] = value
    missing = [name for name in _VALUES if name not in values or not (values[name] or name in _MAY_BE_EMPTY)]
    if missing:
        raise BadEnvironment(f"{shown}: add {', '.join(map(str.upper, missing))}")
    found = Environment(**values)
    if len(set(found.namespaces)) < len(found.namespaces):
        raise BadEnvironment(f"{shown}: two of the namespaces are the same, give each a name of its own")
    return found


def _lines(text: str, shown: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, key and value of each line that is neither empty nor a comment."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        # kustomize reads the same file, and keeps blanks as a part of the value.
        if found is None or found[2] != found[2].strip():
            raise BadEnvironment(f"{shown}, line {number}: not of the form KEY=value, without blanks around")
        yield number, found[1], found[2]


def main() -> int:
    """Print the facts that shells use as assignments, and return the exit code."""
    try:
        found = current()
    except BadEnvironment as error:
        print(f"environment: {error}", file=sys.stderr)
        return 1
    facts = {name.upper(): getattr(found, name) for name in _FOR_SHELLS}
    for name, value in {"ENV": found.environment, "CREDENTIALS": str(found.env_file), **facts}.items():
        print(f"{name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
