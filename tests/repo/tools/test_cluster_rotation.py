"""Replacement of NATS logins: two are valid at a time, and no pod is shown one that the server does not know."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import bootstrap, connect, rotation
from cluster.errors import ClusterError
from cluster.nats_logins import with_a_new_one
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import connect as connect_to_nats
from keda_jobs.settings import NatsSettings
from stack import NatsServer

from .fake_cluster import FakeCluster

SECRET = ("keda-jobs-prod", "nats-image-resize")

Login = tuple[str, str]


class Logins:
    """Logins of image-resize, as its Secret shows them and as the server accepts them."""

    def __init__(self, server: NatsServer, cluster: FakeCluster, file: Path) -> None:
        self._server = server
        self._cluster = cluster
        self._file = file
        self.refused: list[str] = []

    @property
    def shown(self) -> Login:
        """Login that pods see."""
        data = self._cluster.secrets[SECRET]["data"]
        user, password = (base64.b64decode(data[name]).decode() for name in ("NATS_USER", "NATS_PASSWORD"))
        return user, password

    def accepts(self, login: Login) -> bool:
        return asyncio.run(self._log_in(*login))

    async def _log_in(self, user: str, password: str) -> bool:
        settings = NatsSettings(nats_url=self._server.url, nats_user=user, nats_password=password)
        try:
            async with connect_to_nats(settings, name="probe", wait=False):
                return True
        except BrokerUnavailable:
            return False

    def mount(self, applied: dict[str, Any]) -> None:
        """Do what the kubelet does, at once. Note a login that pods see and the server does not know."""
        place = applied["metadata"]["namespace"], applied["metadata"]["name"]
        if place[1] == "nats-auth":
            self._file.write_bytes(base64.b64decode(applied["data"]["auth.conf"]))
        elif place == SECRET and self._server.alive and not self.accepts(self.shown):
            self.refused.append(self.shown[0])


@pytest.fixture
def logins(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logins]:
    server = NatsServer(tmp_path, extra="include auth.conf")
    found = Logins(server, cluster, tmp_path / "auth.conf")

    @contextmanager
    def connected() -> Iterator[dict[str, str]]:
        yield {"NATS_URL": server.url}

    cluster.on_apply = found.mount
    monkeypatch.setattr(connect, "connected", connected)
    monkeypatch.setattr(rotation, "_ARRIVED_S", 0)
    bootstrap.make_nats_users()
    server.start()
    yield found
    server.kill()


def test_the_new_login_is_valid_before_pods_see_it_and_the_old_one_until_it_is_ended(
    cluster: FakeCluster, logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logins.shown
    monkeypatch.setattr(rotation, "confirm", lambda *_: False)
    assert not rotation.rotate(["image-resize"], yes=False)
    after = logins.shown
    assert (before[0], after[0]) == ("image-resize", "image-resize.2")
    assert (logins.accepts(before), logins.accepts(after)) == (True, True)

    bootstrap.make_nats_users()  # a setup meanwhile keeps both
    assert rotation.rotate(["image-resize"], yes=True)
    assert (logins.shown, logins.accepts(before), logins.accepts(after)) == (after, False, True)
    assert set(cluster.secrets[SECRET]["data"]) == {"NATS_USER", "NATS_PASSWORD"}
    assert logins.refused == []


def test_a_rotation_that_was_interrupted_before_pods_saw_the_new_login_goes_on(logins: Logins) -> None:
    before = logins.shown
    bootstrap.make_nats_users(lambda _, found: with_a_new_one(found))
    assert logins.shown == before
    assert rotation.rotate(["image-resize"], yes=True)
    assert logins.shown[0] == "image-resize.2"
    assert (logins.accepts(before), logins.accepts(logins.shown)) == (False, True)


@pytest.mark.usefixtures("logins")
def test_what_cannot_be_replaced_is_refused_before_anything_changes(cluster: FakeCluster) -> None:
    with pytest.raises(ClusterError, match="no NATS user can be replaced by the name image-resiz; there are admin "):
        rotation.rotate(["image-resiz"], yes=True)
    del cluster.secrets[SECRET]["metadata"]["labels"]["keda-jobs/made-by"]
    with pytest.raises(ClusterError, match="somebody else made nats-image-resize in keda-jobs-prod; to hand it over"):
        rotation.rotate(["image-resize"], yes=True)
    assert set(cluster.secrets[SECRET]["data"]) == {"NATS_USER", "NATS_PASSWORD"}
