"""Log lines: one JSON object each in a container, short and coloured on a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from keda_jobs.errors import Misconfigured

_CHATTY = ("aiobotocore", "aiohttp", "asyncio", "boto3", "botocore", "nats")
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def setup(job: str, *, for_terminal: bool | None = None) -> None:
    """Send the log to stderr, from `LOG_LEVEL` (INFO) upwards; the form is chosen by what stderr is, or by you.

    Raises `Misconfigured` for an unknown `LOG_LEVEL`, with logging in order.
    """
    _leave_out_what_no_line_shows()
    handler = logging.StreamHandler(sys.stderr)
    to_terminal = sys.stderr.isatty() if for_terminal is None else for_terminal
    handler.setFormatter(_Readable(coloured=_colours_wanted()) if to_terminal else _Json(job))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    level = os.environ.get("LOG_LEVEL", "").strip().upper() or "INFO"
    if level not in _COLOURS:
        raise Misconfigured(f"LOG_LEVEL: {level!r} is none of {', '.join(_COLOURS)}")
    logging.getLogger().setLevel(level)


def _leave_out_what_no_line_shows() -> None:
    # A third of a line's cost is finding the caller, the thread and the process, and no line names them.
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False
    logging._srcfile = None


def _colours_wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Formatter(logging.Formatter):
    """What both forms share: a message that cannot fail, and the keys that came with `extra`."""

    _own = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def _message(self, record: logging.LogRecord) -> str:
        try:
            return record.getMessage()
        except (TypeError, ValueError, KeyError):
            return f"{record.msg} {record.args!r}"

    def _extra(self, record: logging.LogRecord) -> dict[str, object]:
        return {name: value for name, value in vars(record).items() if name not in self._own}

    def _traceback(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[0] is not None:
            return self.formatException(record.exc_info)
        return record.stack_info or ""


class _Json(_Formatter):
    """One line of ASCII: a newline or an escape sequence in a message stays inside its string."""

    def __init__(self, job: str) -> None:
        super().__init__()
        self._job = job
        self._second = 0
        self._to_the_second = ""
        self._encode = json.JSONEncoder(default=str, allow_nan=False).encode

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": self._time(record.created),
            "level": record.levelname,
            "job": self._job,
            "message": self._message(record),
        }
        if traceback := self._traceback(record):
            fields["exception"] = traceback
        fields = self._extra(record) | fields if False else {**fields, **self._extra(record)}
        try:
            return self._encode(fields)
        except (TypeError, ValueError, RecursionError):
            return self._encode({name: str(value) for name, value in fields.items()})

    def _time(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._second = second
            self._to_the_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._to_the_second}.{int(created % 1 * 1000):03d}Z"
