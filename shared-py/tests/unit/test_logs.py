"""Log lines: one JSON object each in a container, readable on a terminal, and safe from text that forges lines."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keda_jobs.runtime import logs

log = logging.getLogger("keda_jobs.test")

FLAGS = ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks", "_srcfile")


class Stderr:
    """Captured output on stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    @property
    def text(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture(autouse=True)
def stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stderr]:
    """Restore logging after the test."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, {name: logging.getLogger(name).level for name in logs._CHATTY})
    for name in FLAGS:
        monkeypatch.setattr(logging, name, getattr(logging, name, None), raising=False)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    yield Stderr(capsys)
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


def objects(stderr: Stderr) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.text.splitlines()]


def only(stderr: Stderr) -> dict[str, Any]:
    (fields,) = objects(stderr)
    return fields


def test_a_line_has_the_fixed_keys_first(stderr: Stderr) -> None:
    logs.setup("image-resize")
    log.info("made %s", "it")
    fields = only(stderr)
    assert list(fields) == ["time", "level", "job", "message"]
    assert (fields["level"], fields["job"], fields["message"]) == ("INFO", "image-resize", "made it")


def test_the_time_is_utc_in_milliseconds(stderr: Stderr) -> None:
    logs.setup("image-resize")
    before = datetime.now(UTC)
    log.info("now")
    text = only(stderr)["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert abs((datetime.fromisoformat(text) - before).total_seconds()) < 5


def test_extra_values_keep_their_type(stderr: Stderr) -> None:
    logs.setup("image-resize")
    extra = {
        "msg_id": "image-resize-7",
        "attempt": 2,
        "outcome": "retried",
        "duration_s": 0.25,
        "reason": None,
        "own": [1],
    }
    log.info("done", extra=extra)
    assert {name: value for name, value in only(stderr).items() if name in extra} == extra


def test_the_fixed_keys_cannot_be_replaced(stderr: Stderr) -> None:
    logs.setup("image-resize")
    log.info("done", extra={"job": "other", "level": "other", "time": "other"})
    assert only(stderr)["job"] == "image-resize"
    assert only(stderr)["level"] == "INFO"


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"\xff", object(), {("a", "b"): 1}, datetime.now(UTC)])
def test_a_value_that_is_not_json_becomes_text(stderr: Stderr, value: object) -> None:
    logs.setup("image-resize")
    log.info("odd", extra={"value": value})
    assert only(stderr)["value"] == str(value)


@pytest.mark.parametrize("text", ["one\ntwo", "\r\x1b[2Jgone", "\u2028", "\x7f\x9b31m", "\udcff", "schön 雪", '"},{"'])
def test_text_stays_on_one_line_and_none_is_lost(stderr: Stderr, text: str) -> None:
    logs.setup("image-resize")
    log.info("got %s", text, extra={"reason": text})
    assert stderr.text.isascii()
    assert re.fullmatch(r"[ -~]+\n", stderr.text)
    assert only(stderr)["message"] == f"got {text}"
    assert only(stderr)["reason"] == text


def test_a_traceback_is_one_key_of_its_line(stderr: Stderr) -> None:
    logs.setup("image-resize")
    try:
        raise ValueError("the cause\nin two lines")
    except ValueError:
        log.exception("the handler raised")
    fields = only(stderr)
    assert fields["message"] == "the handler raised"
    assert fields["exception"].startswith("Traceback")
    assert fields["exception"].endswith("ValueError: the cause\nin two lines")


def test_a_huge_error_is_cut(stderr: Stderr) -> None:
    logs.setup("job", for_terminal=False)
    try:
        raise ValueError("x" * 5_000_000)
    except ValueError:
        log.exception("the handler raised")
    traceback = only(stderr)["exception"]
    assert traceback.startswith("Traceback (most recent call last)")
    assert len(traceback) < 25_000


def test_a_wrongly_called_log_keeps_its_line(stderr: Stderr) -> None:
    logs.setup("image-resize")
    log.info("%d of them", "one")
    assert only(stderr)["message"] == "%d of them ('one',)"


def test_python_warnings_are_lines_as_well(stderr: Stderr) -> None:
    logs.setup("image-resize")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert only(stderr)["level"] == "WARNING"
    assert "DeprecationWarning: old" in only(stderr)["message"]


def test_debug_lines_appear_on_request_but_never_from_the_clients(stderr: Stderr) -> None:
    logs.setup("image-resize")
    logging.getLogger().setLevel("DEBUG")
    log.debug("ours")
    for name in ("nats.aio.client", "botocore.auth", "aiobotocore", "aiohttp.access", "asyncio"):
        logging.getLogger(name).info("theirs")
    assert [fields["message"] for fields in objects(stderr)] == ["ours"]


def test_info_is_the_default_level(stderr: Stderr) -> None:
    logs.setup("image-resize")
    log.debug("no")
    log.info("yes")
    assert only(stderr)["message"] == "yes"


def test_a_second_setup_replaces_the_first(stderr: Stderr) -> None:
    logs.setup("first")
    logs.setup("second")
    log.info("once")
    assert only(stderr)["job"] == "second"


def test_a_terminal_gets_a_short_coloured_line(stderr: Stderr) -> None:
    logs.setup("image-resize", for_terminal=True)
    log.warning("paused", extra={"outcome": "paused", "duration_s": 1.5})
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \x1b\[33mWARNING \x1b\[0m paused  \x1b\[2moutcome=paused duration_s=1.5\x1b\[0m\n",
        stderr.text,
    )


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colour_gets_plain_text(
    stderr: Stderr, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    logs.setup("image-resize", for_terminal=True)
    log.error("gone")
    assert re.fullmatch(r"\d\d:\d\d:\d\d ERROR    gone\n", stderr.text)


def test_text_cannot_control_a_terminal(stderr: Stderr) -> None:
    logs.setup("image-resize", for_terminal=True)
    log.info("schön\n\x1b[2J", extra={"reason": "a\rb"})
    assert "schön\\n\\x1b[2J" in stderr.text
    assert "reason=a\\rb" in stderr.text
    assert stderr.text.count("\n") == 1


def test_a_terminal_shows_the_traceback_below(stderr: Stderr) -> None:
    logs.setup("image-resize", for_terminal=True)
    log.error("raised", exc_info=ValueError("\x1b[2J"))
    first, second = stderr.text.splitlines()
    assert "raised" in first
    assert second == "ValueError: \\x1b[2J"


def test_the_format_follows_stderr(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    logs.setup("image-resize")
    log.info("hello")
    assert stderr.text.endswith(" hello\n")


def test_a_line_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a line takes some 10 µs. The limit leaves room for a busy machine."""
    with Path(os.devnull).open("w", buffering=1, encoding="utf-8") as sink:
        monkeypatch.setattr(sys, "stderr", sink)
        logs.setup("image-resize")
        extra = {"msg_id": "image-resize-7", "subject": "s", "attempt": 1, "outcome": "done", "duration_s": 0.1}
        begun = time.process_time()
        for _ in range(2000):
            log.info("%s", "done", extra=extra)
        assert (time.process_time() - begun) / 2000 < 100e-6
