"""What jobs need besides images: secrets, NATS users, streams and consumers, tables, and the record of it.

setup-all.sh runs it from a laptop, the Job of k8s/kustomize/bootstrap in the cluster. It waits for NATS and PostgreSQL.
A second run does what is missing and changes nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import environments
import nats_users
from changed_jobs import SETUP_FILES
from cluster import connect, env_file, secrets, setup_record
from cluster.errors import ClusterError, run
from cluster.kubernetes import decoded, items, kubectl
from cluster.nats_loading import load_users
from cluster.nats_logins import RESERVED, Logins, Place
from cluster.owned import apply_secrets, hand_over, place_of, present
from cluster.schemas import apply_all
from environments import ROOT
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable, DatabaseUnavailable, JobError
from keda_jobs.jetstream.api import StreamMissing, stream_info
from keda_jobs.jetstream.connection import connect as connect_to_nats
from keda_jobs.postgres import LoginRefused
from keda_jobs.settings import NatsSettings, PgSettings, load_settings

_DEADLINE_S = 600.0
_AGAIN_S = 2.0
_SAID_S = 10.0

T = TypeVar("T")


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"bootstrap: {text}", flush=True)


class Waiting:
    """Wait for one server, said every ten seconds until the deadline."""

    def __init__(self, what: str, deadline_s: float = _DEADLINE_S) -> None:
        self._what = what
        self._deadline_s = deadline_s
        self._ends = time.monotonic() + deadline_s
        self._next = time.monotonic()

    def __call__(self, reason: object) -> None:
        """Say why it is not yet there. Raises `ClusterError` after the deadline."""
        now = time.monotonic()
        if now > self._ends:
            raise ClusterError(f"{self._what}: not within {self._deadline_s:g} s: {reason}")
        if now >= self._next:
            say(f"waiting for {self._what}: {reason}")
            self._next = now + _SAID_S

    def until_it_answers(self, attempt: Callable[[], T]) -> T:
        """Call `attempt` until its server answers, and return what it returns."""
        while True:
            try:
                return attempt()
            except LoginRefused:
                raise  # nobody replaces the owner's password meanwhile
            except (connect.Unreachable, BrokerUnavailable, DatabaseUnavailable, TimeoutError) as error:
                self(str(error) or "no answer")
            time.sleep(_AGAIN_S)


def make_secrets() -> None:
    """Make the Secrets whose values are known. Raises `ClusterError`."""
    for line in apply_secrets(secrets.wanted()):
        say(f"secrets: {line}")


def make_nats_users(change: Callable[[Place, Logins], Logins] = lambda _, logins: logins) -> str:
    """Make the Secrets of all NATS users, where existing logins keep what `change` leaves of them.

    Return the tag of servers that have loaded them. Raises `ClusterError`.
    """
    every = nats_users.users()
    found = nats_users.logins_of(present(nats_users.wanted(every, {})).values())
    kept = {place: change(place, logins) for place, logins in found.items()}
    wanted = list(nats_users.wanted(every, kept))
    for line in apply_secrets(wanted):
        say(f"NATS users: {line}")
    _say_unused({place_of(one) for one in wanted})
    [auth] = present(one for one in wanted if one["metadata"]["name"] == nats_users.AUTH).values()
    tag = nats_users.tag(auth)
    if not tag:
        raise ClusterError(f"the users in {nats_users.AUTH} cannot be changed, {hand_over(*place_of(auth))}")
    return tag


def load_nats_users(tag: str) -> int:
    """Wait until all servers of NATS have loaded their users. Return how many servers there are."""
    namespace = environments.current().nats_namespace
    replicas = int(kubectl("get", "statefulset/nats", f"--namespace={namespace}", "--output=jsonpath={.spec.replicas}"))
    waiting = Waiting("NATS")

    def load() -> None:
        with connect.connected() as environment:
            variables = environment | _secret("nats-sys", namespace)
            settings = load_settings(NatsSettings, **{name.lower(): value for name, value in variables.items()})
            asyncio.run(load_users(settings, tag, replicas, waiting))

    waiting.until_it_answers(load)
    return replicas


def set_up_nats(tag: str) -> None:
    """Wait for NATS, make it load its users, and apply streams and consumers. Raises `ClusterError`."""
    _apply_streams("--replicas", str(load_nats_users(tag)))


def set_up_nats_of_yours() -> None:
    """Check that each job has a login, and apply streams and consumers as far as ours may. Raises `ClusterError`."""
    namespace = environments.current().jobs_namespace
    users = [user for user in nats_users.users() if user.namespace == namespace]
    jobs = {user.place: user for user in users if user.name not in RESERVED}
    found = present({"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(place)} for place in jobs)
    lacking = [user for place, user in jobs.items() if place not in found]
    for user in lacking:
        say(f"NATS: {user.name} may publish {' '.join(user.publish or ())} and subscribe to _INBOX_{user.name}.>")
    if lacking:
        names = ", ".join(name for _, name in (user.place for user in lacking))
        raise ClusterError(
            f"these jobs have no login at your NATS: make users with the rights above, and the Secrets {names} "
            f"in {namespace}, see docs/bring-your-own.md"
        )
    _apply_streams()


def _metadata(place: tuple[str, str]) -> dict[str, str]:
    namespace, name = place
    return {"namespace": namespace, "name": name}


def _apply_streams(*options: str) -> None:
    """Apply streams and consumers. Raises `ClusterError`.

    Streams that an earlier setup made are lost, or on a disk that no server reads, where there are none now. In place
    of those it makes no empty ones, or nobody would see it.
    """
    say("streams and consumers")
    with connect.connected() as environment:
        if setup_record.stored() and not Waiting("NATS").until_it_answers(lambda: has_events(environment)):
            raise ClusterError(
                f"NATS has no stream {STREAM}, and an earlier setup made one. Restore a backup, or begin with empty "
                f"streams: k8s/connect.sh keda-jobs {' '.join(('streams', 'apply', *options))}. Then run this again. "
                "See docs/day-two.md#the-streams-are-gone"
            )
        command = ["keda-jobs", "streams", "apply", "--jobs", str(ROOT / "jobs"), *options]
        if connect.run_command(command, environment):
            raise ClusterError("streams and consumers are not as declared, see above")


def has_events(environment: Mapping[str, str]) -> bool:
    """Return whether the NATS of these variables has the events stream. Raises `BrokerUnavailable`."""
    given = {name: environment[name.upper()] for name in NatsSettings.model_fields if name.upper() in environment}
    settings = load_settings(NatsSettings, **given)

    async def ask() -> bool:
        async with connect_to_nats(settings, name="keda-jobs-cli", wait=False) as connection:
            try:
                await stream_info(connection)
            except StreamMissing:
                return False
        return True

    return asyncio.run(ask())


def set_up_database() -> bool:
    """Wait for PostgreSQL and apply the schemas of all batch jobs. Return whether there is a PG_DSN."""
    if not env_file.values().get("PG_DSN"):
        say("database: skipped, there is no PG_DSN")
        return False
    say("database: tables, queues and roles")
    passwords = _secret("postgres", environments.current().jobs_namespace)

    def apply() -> dict[str, list[str]]:
        with connect.connected() as environment:
            return apply_all(load_settings(PgSettings, pg_dsn=environment["PG_DSN"]), passwords)

    for job, migrations in Waiting("PostgreSQL").until_it_answers(apply).items():
        say(f"database: {job}: {', '.join(migrations) or 'up to date'}")
    return True


def record(skipped: set[str]) -> None:
    """Record for CI what this was for."""
    kubectl("apply", "--server-side", "--filename=-", given=setup_record.manifest(skipped))


def _say_unused(used: set[tuple[str, str]]) -> None:
    """Name the Secrets of users whose job is gone. Nobody but a person deletes them."""
    environment = environments.current()
    for namespace in (environment.nats_namespace, environment.jobs_namespace):
        for secret in items("secrets", f"--namespace={namespace}", f"--selector={nats_users.USER_LABEL}"):
            if place_of(secret) not in used:
                say(f"no job uses this Secret: kubectl delete secret -n {namespace} {secret['metadata']['name']}")


def _secret(name: str, namespace: str) -> dict[str, str]:
    return decoded(json.loads(kubectl("get", "secret", name, f"--namespace={namespace}", "--output=json")))


def main() -> int:
    """Do all of it and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster.bootstrap", description=__doc__)
    parser.add_argument(
        "--skipped",
        action="append",
        default=[],
        choices=sorted(SETUP_FILES),
        help="part that somebody else applies, such as the platform with GitOps",
    )
    skipped = set(parser.parse_args().skipped)
    make_secrets()
    try:
        if environments.current().nats_namespace:
            set_up_nats(make_nats_users())
        else:
            set_up_nats_of_yours()
        if not set_up_database():
            skipped.add("database")
    except JobError as error:
        raise ClusterError(str(error)) from error
    record(skipped)
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(run("bootstrap", main))
