"""The NATS users of the cluster, as Kubernetes Secrets: each event job, the exporter, the publisher and the admin.

    kubectl get secrets -A -l keda-jobs/nats-user -o json |
      python tools/nats_users.py | kubectl apply --server-side -f -

Reads the Secrets that exist and writes all that shall be. A password that exists is kept, so a second run changes
nothing; to change one, delete its Secret and run this again. All but the admin may subscribe to the inbox of their own
name and to nothing else: a client that logs in as the publisher sets its inbox prefix to `_INBOX_publisher`.

NATS checks the subject of a publish and not its headers. Who may schedule a retry may name any subject of the stream
as the schedule's target, so a job that is out to forge another job's events can.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keda_jobs.domain.subjects import DEAD_LETTER, STREAM, due_subject, waiting_subject
from keda_jobs.errors import Misconfigured
from keda_jobs.event.job import emitted_types
from keda_jobs.jetstream.stream_diff import normal
from keda_jobs.jetstream.streams import read_declaration
from stack.jobs import ROOT, event_jobs, handler_of
from stack.process import StackError

NATS_NAMESPACE = "nats"
JOBS_NAMESPACE = "keda-jobs-prod"
PUBLISHER = "publisher"
ADMIN = "admin"
EXPORTER = "exporter"

_USER = "NATS_USER"
_PASSWORD = "NATS_PASSWORD"
_PART_OF = {"app.kubernetes.io/part-of": "keda-jobs"}
_USER_LABEL = "keda-jobs/nats-user"
# What needs no quoting, neither in a URL nor in the server's config, where a $ begins a variable or a hash.
_SAFE = re.compile(r"[0-9A-Za-z_-]{32,}")
_RANDOM_BYTES = 32

# What asks for the numbers of stream and consumers, and reads messages where they stand. Nothing that takes a message
# from a consumer, or makes one.
_READING = (
    f"$JS.API.STREAM.INFO.{STREAM}",
    f"$JS.API.CONSUMER.LIST.{STREAM}",
    f"$JS.API.DIRECT.GET.{STREAM}",
)

Secret = dict[str, Any]
Place = tuple[str, str]


class BadInput(Exception):
    """What came in cannot be used; the text is one line for a person and holds no secret."""


@dataclass(frozen=True, slots=True)
class User:
    """A login. `publish` are the subjects it may publish, None when it may do everything."""

    name: str
    namespace: str
    publish: tuple[str, ...] | None = None

    @property
    def place(self) -> Place:
        """Namespace and name of its Secret."""
        return self.namespace, f"nats-{self.name}"

    def entry(self, password: str) -> str:
        """Its lines in the server's config. It hears nothing but the answers to its own requests."""
        lines = [f'user: "{self.name}"', f'password: "{password}"']
        if self.publish is not None:
            subjects = "".join(f'\n          "{subject}"' for subject in self.publish)
            rights = [f"publish: {{ allow: [{subjects} ] }}", f'subscribe: {{ allow: ["_INBOX_{self.name}.>"] }}']
            lines.append("permissions: {" + "".join(f"\n        {right}" for right in rights) + " }")
        return "    {" + "".join(f"\n      {line}" for line in lines) + " }\n"


def users() -> list[User]:
    """Every user, by name. Raises `StackError` and `Misconfigured` for a job that does not say what it does."""
    jobs = event_jobs()
    if taken := {ADMIN, EXPORTER, PUBLISHER} & set(jobs):
        raise Misconfigured(f"no job can be called {taken.pop()}: that is another NATS user")
    filters = {
        subject
        for consumer in read_declaration(ROOT / "jobs").consumers
        for subject in normal(consumer)["filter_subjects"]
    }
    read = sorted(filters - {due_subject(job) for job in jobs})
    others = [
        User(ADMIN, NATS_NAMESPACE),
        User(EXPORTER, JOBS_NAMESPACE, _READING),
        User(PUBLISHER, NATS_NAMESPACE, tuple(read)),
    ]
    return sorted(
        [*(User(job, JOBS_NAMESPACE, _published_by(job)) for job in jobs), *others], key=lambda user: user.name
    )


def _published_by(job: str) -> tuple[str, ...]:
    """What a job's loop publishes: requests for messages, acks, retries, dead letters, and its handler's events."""
    try:
        events = emitted_types(handler_of(job))
    except TypeError as error:
        raise Misconfigured(f"{job}: {error}") from error
    return (
        f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{job}-consumer",
        f"$JS.ACK.{STREAM}.{job}-consumer.>",
        waiting_subject(job, "*"),
        DEAD_LETTER,
        *sorted(event.subject for event in events),
    )


def existing_passwords(listed: str) -> dict[Place, str]:
    """The passwords in a list of Secrets as kubectl prints it. Raises `BadInput`."""
    try:
        items = [item for item in json.loads(listed)["items"] if _USER_LABEL in item["metadata"]["labels"]]
        return {_place(item): _password(item) for item in items}
    except (ValueError, TypeError, LookupError) as error:
        raise BadInput(
            "the input is no list of Secrets: kubectl get secrets -A -l keda-jobs/nats-user -o json"
        ) from error


def _place(secret: Mapping[str, Any]) -> Place:
    return secret["metadata"]["namespace"], secret["metadata"]["name"]


def _password(secret: Mapping[str, Any]) -> str:
    try:
        password = base64.b64decode((secret.get("data") or {})[_PASSWORD], validate=True).decode()
    except (LookupError, TypeError, binascii.Error, UnicodeDecodeError):
        password = ""
    if not _SAFE.fullmatch(password):
        name = "/".join(_place(secret))
        raise BadInput(
            f"Secret {name}: {_PASSWORD} is not 32 or more of A-Z a-z 0-9 _ -; delete the Secret to have a new one made"
        )
    return password


def wanted(every: list[User], existing: Mapping[Place, str]) -> Iterator[Secret]:
    """The Secret of each user, and the config of the server that knows them all."""
    passwords = {user.place: existing.get(user.place) or secrets.token_urlsafe(_RANDOM_BYTES) for user in every}
    entries = "".join(user.entry(passwords[user.place]) for user in every)
    config = f"# Made by tools/nats_users.py, which makes it again.\nauthorization {{\n  users: [\n{entries}  ]\n}}\n"
    yield _secret((NATS_NAMESPACE, "nats-auth"), {"auth.conf": config}, {})
    for user in every:
        login = {_USER: user.name, _PASSWORD: passwords[user.place]}
        yield _secret(user.place, login, {_USER_LABEL: user.name})


def _secret(place: Place, data: Mapping[str, str], labels: Mapping[str, str]) -> Secret:
    namespace, name = place
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {**_PART_OF, **labels}},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def main() -> int:
    """The exit code: 2 for an input or a job that cannot be used, which stderr then names."""
    try:
        every, existing = users(), existing_passwords(sys.stdin.read())
    except (BadInput, StackError, Misconfigured) as error:
        print(f"nats-users: {error}", file=sys.stderr)
        return 2
    for namespace, name in sorted(existing.keys() - {user.place for user in every}):
        print(f"nats-users: no job uses it any more: kubectl delete secret -n {namespace} {name}", file=sys.stderr)
    listed = {"apiVersion": "v1", "kind": "List", "items": list(wanted(every, existing))}
    print(json.dumps(listed, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
