"""NATS users of the cluster as Kubernetes Secrets: each job with NATS settings, the publisher and the admin.

    kubectl get secrets -A -l keda-jobs/nats-user -o json |
      python tools/nats_users.py | kubectl apply --server-side -f -

The input is the existing Secrets, the output is all Secrets. Existing passwords are kept, so a second run changes
nothing. To change a password, delete its Secret and run this again. All users except the admin may subscribe only to
the inbox of their own name: a client that logs in as the publisher sets its inbox prefix to `_INBOX_publisher`.

NATS checks the subject of a publish and neither its headers nor its reply subject. SECURITY.md says what each user
could do to others.
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

from keda_jobs.domain.subjects import DEAD_LETTER, RETRY_STREAM, STREAM, waiting_subject
from keda_jobs.errors import Misconfigured
from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Job
from keda_jobs.settings import NatsSettings
from stack.jobs import all_jobs, jobs_of
from stack.process import StackError

NATS_NAMESPACE = "nats"
JOBS_NAMESPACE = "keda-jobs-prod"
PUBLISHER = "publisher"
ADMIN = "admin"

_USER = "NATS_USER"
_PASSWORD = "NATS_PASSWORD"
_PART_OF = {"app.kubernetes.io/part-of": "keda-jobs"}
_USER_LABEL = "keda-jobs/nats-user"
# Needs no quoting, in a URL or in the server's config, where a $ begins a variable or a hash.
_SAFE = re.compile(r"[0-9A-Za-z_-]{32,}")
_RANDOM_BYTES = 32

# Requests for the numbers of streams and consumers, and for stored messages. None takes a message from a consumer.
_READING = (
    f"$JS.API.STREAM.INFO.{STREAM}",
    f"$JS.API.CONSUMER.LIST.{STREAM}",
    f"$JS.API.DIRECT.GET.{STREAM}",
    f"$JS.API.STREAM.INFO.{RETRY_STREAM}",
    f"$JS.API.DIRECT.GET.{RETRY_STREAM}",
)

Secret = dict[str, Any]
Place = tuple[str, str]


class BadInput(Exception):
    """The input cannot be used. The message is one line without a secret."""


@dataclass(frozen=True, slots=True)
class User:
    """NATS user with the subjects that it may publish, or None when it may do everything."""

    name: str
    namespace: str
    publish: tuple[str, ...] | None = None

    @property
    def place(self) -> Place:
        """Namespace and name of its Secret."""
        return self.namespace, f"nats-{self.name}"

    def entry(self, password: str) -> str:
        """Format its lines in the server's config. It may receive only answers to its own requests."""
        lines = [f'user: "{self.name}"', f'password: "{password}"']
        if self.publish is not None:
            subjects = "".join(f'\n          "{subject}"' for subject in self.publish)
            rights = [f"publish: {{ allow: [{subjects} ] }}", f'subscribe: {{ allow: ["_INBOX_{self.name}.>"] }}']
            lines.append("permissions: {" + "".join(f"\n        {right}" for right in rights) + " }")
        return "    {" + "".join(f"\n      {line}" for line in lines) + " }\n"


def users() -> list[User]:
    """List every user, by name. Raises `StackError` and `Misconfigured`."""
    jobs = [job for job in all_jobs() if NatsSettings in job.settings.mro()]
    if taken := {ADMIN, PUBLISHER} & {job.name for job in jobs}:
        raise Misconfigured(f"no job can be called {taken.pop()}: that is another NATS user")
    read = {job.event.subject for job in jobs_of(EventJob)}
    others = [User(ADMIN, NATS_NAMESPACE), User(PUBLISHER, NATS_NAMESPACE, tuple(sorted(read)))]
    own = [User(job.name, JOBS_NAMESPACE, _published_by(job)) for job in jobs]
    return sorted([*own, *others], key=lambda user: user.name)


def _published_by(job: Job) -> tuple[str, ...]:
    """List the subjects that a job publishes: for an event job what its loop needs, for others requests to read."""
    if not isinstance(job, EventJob):
        return _READING
    try:
        emitted = job.emitted
    except TypeError as error:
        raise Misconfigured(f"{job.name}: {error}") from error
    return (
        f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{job.name}-consumer",
        f"$JS.ACK.{STREAM}.{job.name}-consumer.>",
        waiting_subject(job.name, "*"),
        DEAD_LETTER,
        *sorted(event.subject for event in emitted),
    )


def existing_passwords(listed: str) -> dict[Place, str]:
    """Read the passwords in a list of Secrets from kubectl. Raises `BadInput`."""
    try:
        items = [item for item in json.loads(listed)["items"] if _USER_LABEL in item["metadata"]["labels"]]
        return {_place(item): _password(item) for item in items}
    except (ValueError, TypeError, LookupError) as error:
        raise BadInput(
            "the input is no list of Secrets, pipe it from: kubectl get secrets -A -l keda-jobs/nats-user -o json"
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
    """Yield the server's config with all users, then the Secret of each user."""
    passwords = {user.place: existing.get(user.place) or secrets.token_urlsafe(_RANDOM_BYTES) for user in every}
    entries = "".join(user.entry(passwords[user.place]) for user in every)
    config = f"# Generated by tools/nats_users.py.\nauthorization {{\n  users: [\n{entries}  ]\n}}\n"
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
    """Print all Secrets and return the exit code, 2 for an unusable input or job, which stderr names."""
    try:
        every, existing = users(), existing_passwords(sys.stdin.read())
    except (BadInput, StackError, Misconfigured) as error:
        print(f"nats-users: {error}", file=sys.stderr)
        return 2
    for namespace, name in sorted(existing.keys() - {user.place for user in every}):
        print(
            f"nats-users: no job uses this Secret, delete it: kubectl delete secret -n {namespace} {name}",
            file=sys.stderr,
        )
    listed = {"apiVersion": "v1", "kind": "List", "items": list(wanted(every, existing))}
    print(json.dumps(listed, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
