"""The rights in docs/backup.md are enough for a login that takes backups, and for one that restores."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keda_jobs.backup.manifest import Manifest
from keda_jobs.backup.places import Folder
from keda_jobs.backup.record import record_complete, record_start
from keda_jobs.backup.restore import plan_restore, restore_backup
from keda_jobs.backup.take import take_backup
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer
from stack.jobs import ROOT
from stack.streams import declaration_for

from .conftest import JOB, SUBJECT, ignore

_SECTION = (ROOT / "docs/backup.md").read_text().partition("## Rights")[2].partition("\n## ")[0]
_BACKUP, _RESTORE = (
    re.findall(r"(?<!\w)(?:\$JS|backup)\.[\w.*>$-]+", text) for text in _SECTION.split("Restore as `admin`")
)
RIGHTS = {"admin": [">"], "backup": _BACKUP, "restore": _BACKUP + _RESTORE}


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    users = "".join(
        f"{{ user: {user}, password: secret, permissions: {{ publish: {json.dumps(subjects)}, "
        f'subscribe: ["_INBOX_{user}.>"] }} }}\n'
        for user, subjects in RIGHTS.items()
    )
    server = NatsServer(tmp_path / "stack", extra=f"authorization {{ users: [{users}] }}")
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def logged_in(server: NatsServer, user: str) -> AsyncIterator[NatsConnection]:
    settings = NatsSettings.model_validate({"nats_url": server.url, "nats_user": user, "nats_password": "secret"})
    async with connect(settings, name="test", wait=False) as connection:
        yield connection


async def test_the_documented_rights_are_enough_and_needed(nats_server: NatsServer, tmp_path: Path) -> None:
    place = Folder(tmp_path / "backups")
    async with logged_in(nats_server, "admin") as admin:
        await apply(admin, declaration_for({JOB: SUBJECT}))
    async with logged_in(nats_server, "backup") as backup:
        await record_start(backup)
        manifest = await take_backup(backup, place, ignore)
        await record_complete(backup, manifest.name)
        # As if it had worked meanwhile.
        manifest = Manifest(**{**manifest.model_dump(), "rewind": {f"{JOB}-consumer": 1}})
        with pytest.raises(BrokerUnavailable, match="permissions violation"):
            await restore_backup(backup, place, await plan_restore(backup, manifest), ignore)
    async with logged_in(nats_server, "restore") as restorer:
        await restore_backup(restorer, place, await plan_restore(restorer, manifest), ignore)
