"""Users of NATS, loaded by running servers without a restart.

The servers' file of users names its own digest as a tag. Through NATS' system account the user `sys` may ask each
server for its tags, and for a reload. The kubelet needs up to a minute and a half to bring a changed file into a pod.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.settings import NatsSettings

PING = "$SYS.REQ.SERVER.PING.VARZ"
RELOAD = "$SYS.REQ.SERVER.{}.RELOAD"
"""Subject that makes one server read its configuration, by the server's id."""

_ANSWERS_S = 1.0
_RELOADED_S = 20.0
_AGAIN_S = 2.0


async def load_users(settings: NatsSettings, tag: str, servers: int, waiting: Callable[[str], None]) -> None:
    """Make all servers load the users whose file has `tag`. Raises `BrokerUnavailable`."""
    async with connect(settings, name="sys", wait=False) as connection:
        while lacking := await _lacking(connection, tag, servers):
            waiting(lacking)
            await asyncio.sleep(_AGAIN_S)


async def _lacking(connection: NatsConnection, tag: str, servers: int) -> str:
    """Ask servers with other users for a reload. Return what is still to wait for, empty when all have these users."""
    tags = await _tags(connection, servers)
    others = [server for server, found in tags.items() if tag not in found]
    for server in others:
        answer = await connection.client.request(RELOAD.format(server), timeout=_RELOADED_S)
        if error := json.loads(answer.data).get("error"):
            raise BrokerUnavailable(f"a server cannot load its users: {error.get('description')}")
    if others:
        return "the users to reach the servers"
    return "" if len(tags) >= servers else f"{servers} servers, {len(tags)} answer"


async def _tags(connection: NatsConnection, servers: int) -> dict[str, list[str]]:
    """Return the tags of the servers that answer, by id."""
    client = connection.client
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish(PING, reply=inbox)
    found: dict[str, list[str]] = {}
    try:
        while len(found) < servers:
            answer: dict[str, Any] = json.loads((await answers.next_msg(timeout=_ANSWERS_S)).data)
            found[answer["server"]["id"]] = answer["server"].get("tags", [])
    except TimeoutError:
        pass
    finally:
        await answers.unsubscribe()
    return found
