"""Login to NATS and PostgreSQL: every form of a password, and credentials of a server in operator mode."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nats_users
from keda_jobs.errors import BrokerUnavailable, JobError, Misconfigured
from keda_jobs.jetstream.connection import connect
from keda_jobs.postgres import open_connection
from keda_jobs.settings import NatsSettings, PgSettings, load_settings
from stack import JobProcess, NatsServer, S3Server, free_port, until

from .operator_mode import OperatorMode, creds_file

PASSWORD = "p@s%40s+w é"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NatsSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


async def account(**fields: object) -> int:
    """Connect as a command does, and return how many streams the account may have."""
    async with connect(load_settings(NatsSettings, **fields), name="test", wait=False) as connection:
        return (await connection.jetstream.account_info()).limits.max_streams


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    narrow = '{ user: narrow, password: x, permissions: { subscribe: "_INBOX_narrow.>" } }'
    users = f'{{ user: "m@e", password: "{PASSWORD}" }}, {{ user: "a b.*", password: x }}, {narrow}'
    extra = f"authorization {{ users: [{users}] }}"
    server = NatsServer(tmp_path_factory.mktemp("guarded"), extra=extra)
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("line", [b"INFO", b"-ERR"])
async def test_who_waits_for_a_login_can_be_cancelled_at_any_moment(
    guarded: NatsServer, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    async def wait_for_ever() -> None:
        settings = load_settings(NatsSettings, nats_url=guarded.url, nats_user="m@e", nats_password="wrong")
        async with connect(settings, name="test", wait=True):
            pytest.fail("the server refuses this password")

    waiting = asyncio.create_task(wait_for_ever())
    fed: list[bytes] = []
    feed = asyncio.StreamReader.feed_data

    def feed_and_cancel(reader: asyncio.StreamReader, data: bytes) -> None:
        feed(reader, data)
        # Python 3.11 drops a cancellation that comes with what is waited for.
        if line in data and not fed:
            fed.append(data)
            waiting.cancel()

    monkeypatch.setattr(asyncio.StreamReader, "feed_data", feed_and_cancel)
    await until(waiting.done)
    assert waiting.cancelled()
    assert fed


@pytest.mark.parametrize(
    "login", [f"{quote('m@e')}:{quote(PASSWORD, safe='')}", f"m%40e:{PASSWORD.replace('%', '%25')}", None]
)
async def test_a_password_of_any_characters_logs_in(guarded: NatsServer, login: str | None) -> None:
    url = guarded.url if login is None else guarded.url.replace("//", f"//{login}@")
    user = {"nats_user": "m@e", "nats_password": PASSWORD} if login is None else {}
    assert await account(nats_url=f"{url}\n", **user) == -1
    one_is_away = url.replace(str(guarded.port), str(free_port()))
    assert await account(nats_url=f"{one_is_away},{url}", **user) == -1


async def test_a_user_whose_name_is_no_part_of_a_subject_hears_its_answers(guarded: NatsServer) -> None:
    assert await account(nats_url=guarded.url, nats_user="a b.*", nats_password="x") == -1


async def test_a_user_in_the_url_hears_the_answers_in_its_own_inbox(guarded: NatsServer) -> None:
    assert await account(nats_url=guarded.url.replace("//", "//narrow:x@")) == -1


async def test_a_token_logs_in(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "stack", extra='authorization { token: "t/k@n" }')
    server.start()
    try:
        assert await account(nats_url=server.url.replace("//", f"//{quote('t/k@n', safe='')}@")) == -1
    finally:
        server.kill()


FRONT, BACK = "sesame", "opens"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    middle=st.text("@/:?#%&=,;[]\\ +1é'\"", min_size=1, max_size=4),
    form=st.sampled_from(
        [
            "nats://me:{}@{}",
            "nats://{}@{}",
            "nats://127.0.0.1:1,nats://me:{}@{}",
            "postgresql://me:{}@{}/users",
            "postgresql://{}@{}/users",
            "postgresql://{1}/users?password={0}",
            "password={} host={}",
        ]
    ),
)
def test_no_error_or_log_line_of_a_connection_shows_a_part_of_the_password(
    caplog: pytest.LogCaptureFixture, middle: str, form: str
) -> None:
    caplog.set_level(logging.DEBUG, "keda_jobs")
    text = form.format(f"{FRONT}{middle}{BACK}", f"127.0.0.1:{_CLOSED}")
    with pytest.raises(JobError) as caught:
        asyncio.run(_open(text))
    shown = f"{caught.value}{caplog.text}"
    assert FRONT not in shown
    assert BACK not in shown
    assert "\n" not in str(caught.value)


_CLOSED = free_port()


async def _open(text: str) -> None:
    if text.startswith("nats"):
        await account(nats_url=text)
    async with open_connection(load_settings(PgSettings, pg_dsn=text), name="test"):
        pass


@pytest.fixture(scope="module")
def operator_mode() -> OperatorMode:
    return OperatorMode()


@pytest.fixture(scope="module")
def operated(operator_mode: OperatorMode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("operated"), extra=operator_mode.config())
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n\n"])
async def test_credentials_log_in_to_a_server_in_operator_mode(
    operator_mode: OperatorMode, operated: NatsServer, tmp_path: Path, newline: str, end: str
) -> None:
    file = tmp_path / "user.creds"
    file.write_bytes((creds_file(*operator_mode.credentials(), newline).rstrip() + end).encode())
    assert await account(nats_url=operated.url, nats_creds=str(file)) == -1


async def test_a_job_and_the_cli_do_their_work_with_credentials(
    operator_mode: OperatorMode, operated: NatsServer, s3_server: S3Server, tmp_path: Path
) -> None:
    job = next(user for user in nats_users.users() if user.name == "image-resize")
    rights = {"pub": {"allow": list(job.publish or ())}, "sub": {"allow": [f"_INBOX_{job.name}.>"]}}
    for name, login in (("admin", operator_mode.credentials()), ("job", operator_mode.credentials(rights))):
        (tmp_path / f"{name}.creds").write_text(creds_file(*login))
    environment = os.environ | {"NATS_URL": operated.url, "NATS_CREDS": str(tmp_path / "admin.creds")}

    def command(*arguments: str) -> str:
        line = [sys.executable, "-m", "keda_jobs.cli", *arguments]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout

    await asyncio.to_thread(command, "streams", "apply")
    worker = JobProcess(
        job.name,
        operated.environment() | s3_server.environment() | {"NATS_CREDS": str(tmp_path / "job.creds")},
        tmp_path / "job.log",
    )
    await asyncio.to_thread(worker.start)
    try:
        await asyncio.to_thread(command, "pub", "image-downloaded", '{"key": "not/ours"}')
        await asyncio.to_thread(command, "pub", "image-downloaded", '{"key": "images/absent.png"}')

        async def both_are_settled() -> bool:
            shown = json.loads(await asyncio.to_thread(command, "status", "--json"))
            waiting = {one["job"]: one["count"] for one in shown["waiting_retries"]}
            return (shown["dead_letters"]["by_job"], waiting) == ({job.name: 1}, {job.name: 1})

        await until(both_are_settled)
    finally:
        worker.kill()


async def test_expired_credentials_and_those_of_another_user_are_refused_by_the_server(
    operator_mode: OperatorMode, operated: NatsServer, tmp_path: Path
) -> None:
    expired = operator_mode.credentials(exp=1_700_000_100)
    mixed = operator_mode.credentials()[0], operator_mode.credentials()[1]
    for number, login in enumerate((expired, mixed)):
        file = tmp_path / f"{number}.creds"
        file.write_text(creds_file(*login))
        with pytest.raises(BrokerUnavailable, match="Authorization Violation"):
            await account(nats_url=operated.url, nats_creds=str(file))


def broken_credentials() -> dict[str, bytes]:
    whole = creds_file(*OperatorMode().credentials()).encode()
    seed = whole.index(b"\nSU") + 1
    return {
        "empty": b"",
        "blank": b"\n \n",
        "text": b"see the vault\n",
        "bytes": bytes(range(256)) * 10,
        "cut in the JWT": whole[:200],
        "cut in the seed": whole[: seed + 20],
        "a letter of the seed changed": whole[: seed + 9]
        + (b"B" if whole[seed + 9] == 65 else b"A")
        + whole[seed + 10 :],
        "only the seed": whole[whole.index(b"-----BEGIN USER") :],
        "markers without content": b"-----BEGIN NATS USER JWT-----\n\n-----BEGIN USER NKEY SEED-----\n",
        "endless": b"-----BEGIN NATS USER JWT-----\n" + b"a" * 3_000_000,
    }


BROKEN = broken_credentials()


@pytest.mark.parametrize("kind", BROKEN)
async def test_credentials_that_cannot_be_read_are_one_line(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "user.creds"
    file.write_bytes(BROKEN[kind])
    with pytest.raises(
        Misconfigured, match=r"^NATS_CREDS: .*user\.creds holds no valid user (JWT|seed); write"
    ) as caught:
        await account(nats_url=f"nats://127.0.0.1:{_CLOSED}", nats_creds=str(file))
    assert "SU" not in str(caught.value)


def wrong_settings(folder: Path) -> dict[str, dict[str, str]]:
    """Write broken files into `folder`, and return settings of the environment that no process can start with."""
    (folder / "empty").write_text("")
    (folder / "text.pem").write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    return {
        "NATS_URL, no address": {"NATS_URL": "nats://[::1"},
        "NATS_URL, no port": {"NATS_URL": "nats://localhost:99999"},
        "NATS_URL, a line break": {"NATS_URL": "nats://local\nhost"},
        "NATS_CREDS, absent": {"NATS_CREDS": str(folder / "absent")},
        "NATS_CREDS, a folder": {"NATS_CREDS": str(folder)},
        "NATS_CREDS, empty": {"NATS_CREDS": str(folder / "empty")},
        "NATS_TLS_CA, empty": {"NATS_TLS_CA": str(folder / "empty")},
        "NATS_TLS_CA, broken": {"NATS_TLS_CA": str(folder / "text.pem")},
        "NATS_TLS_CA, a folder": {"NATS_TLS_CA": str(folder)},
    }


@pytest.mark.parametrize("module", ["image_resize", "exporter", "keda_jobs.cli"])
async def test_a_login_that_cannot_work_is_one_line_and_exit_2_for_every_program(
    stack_environment: dict[str, str], tmp_path: Path, module: str
) -> None:
    outcomes = {}
    for what, wrong in wrong_settings(tmp_path).items():
        environment = os.environ | stack_environment | {"HTTP_PORT": "0"} | wrong
        command = [sys.executable, "-m", module, *(["status"] if module == "keda_jobs.cli" else [])]
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        *before, last = done.stderr.splitlines()
        said = json.loads(last)["message"] if module != "keda_jobs.cli" else last.removeprefix("keda-jobs: ")
        outcomes[what] = done.returncode, said.partition(":")[0], done.stdout, [x for x in before if "INFO" not in x]
    assert outcomes == {what: (2, what.partition(",")[0], "", []) for what in outcomes}
