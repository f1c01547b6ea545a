"""Users that change are loaded by a running server, by the user `sys`, who may do nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nats
import pytest

import nats_users
from cluster.nats_loading import load_users
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until

from .secrets_tool import by_name, content, made_of, settings_of
from .test_rights import violations


def changed_password(made: dict[str, Any], user: str) -> dict[str, Any]:
    """Make all Secrets again after that of `user` was deleted."""
    kept = [secret for secret in made["items"] if secret["metadata"]["name"] != f"nats-{user}"]
    return made_of({**made, "items": kept})


async def may_log_in(settings: NatsSettings) -> bool:
    try:
        async with connect(settings, name="probe", wait=False):
            return True
    except BrokerUnavailable:
        return False


def write_users(folder: Path, made: dict[str, Any]) -> str:
    """Write the users' file, like the kubelet does, and return the tag that it names."""
    auth = by_name(made)["nats-auth"]
    (folder / "auth.conf").write_text(content(auth)["auth.conf"])
    return nats_users.tag(auth)


async def test_a_running_server_loads_users_that_arrive_late(tmp_path: Path, made: dict[str, Any]) -> None:
    first = write_users(tmp_path, made)
    server = NatsServer(tmp_path, extra="include auth.conf")
    server.start()
    try:
        sys = NatsSettings(**settings_of(server, made, "sys"))
        await load_users(sys, first, 1, lambda _: pytest.fail("it has them"))
        later = changed_password(made, "image-resize")
        before, after = (NatsSettings(**settings_of(server, each, "image-resize")) for each in (made, later))
        assert await may_log_in(before)

        waited: list[str] = []
        loading = asyncio.create_task(load_users(sys, nats_users.tag(by_name(later)["nats-auth"]), 1, waited.append))
        await until(lambda: waited)
        write_users(tmp_path, later)
        await loading
        assert waited[0] == "the users to reach the servers"
        assert (await may_log_in(before), await may_log_in(after)) == (False, True)
    finally:
        server.kill()


async def test_a_file_that_the_server_refuses_is_said(tmp_path: Path, made: dict[str, Any]) -> None:
    write_users(tmp_path, made)
    server = NatsServer(tmp_path, extra="include auth.conf")
    server.start()
    try:
        (tmp_path / "auth.conf").write_text("authorization { users: [")
        with pytest.raises(BrokerUnavailable, match="cannot load its users: "):
            await load_users(NatsSettings(**settings_of(server, made, "sys")), "users:other", 1, lambda _: None)
    finally:
        server.kill()


async def test_sys_may_only_ask_for_tags_and_reload_users(server: NatsServer, made: dict[str, Any]) -> None:
    asked = ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.X.SHUTDOWN", "$JS.API.INFO", "image-download"]
    refused = await violations(server, content(by_name(made)["nats-sys"]), asked, ["$SYS.>", ">"])
    assert refused == {subject.lower() for subject in (*asked, "$SYS.>", ">")}


async def test_no_other_user_reaches_the_system_account(server: NatsServer, made: dict[str, Any]) -> None:
    async with connect(NatsSettings(**settings_of(server, made, "admin")), name="admin", wait=False) as connection:
        with pytest.raises((nats.errors.NoRespondersError, TimeoutError)):
            await connection.client.request("$SYS.REQ.SERVER.PING.VARZ", timeout=0.5)
