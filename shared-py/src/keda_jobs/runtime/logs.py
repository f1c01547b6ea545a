"""Log lines: a JSON object each in a container, short and coloured on a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

_CHATTY = ("aiobotocore", "aiohttp", "asyncio", "boto3", "botocore", "nats")
_DIM = "2"
_MAX_TRACEBACK = 20_000
_COLOURS = {"DEBUG": _DIM, "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def setup(job: str, *, for_terminal: bool | None = None) -> None:
    """Send the log to stderr, from INFO upwards. Without `for_terminal` the format depends on what stderr is."""
    _disable_unused_fields()
    handler = logging.StreamHandler(sys.stderr)
    to_terminal = sys.stderr.isatty() if for_terminal is None else for_terminal
    handler.setFormatter(_Readable(coloured=_use_colours()) if to_terminal else _Json(job))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _disable_unused_fields() -> None:
    # A third of a line's cost is finding the caller, the thread and the process, and no line names them.
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False
    logging._srcfile = None  # noqa: SLF001 (the documented switch for the caller's file and line)


def _use_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Formatter(logging.Formatter):
    """Parts of both formats: a message that cannot fail, the fields of `extra`, and the traceback."""

    _not_extra = frozenset(vars(logging.makeLogRecord({}))) | {"taskName", "time", "level", "job", "exception"}

    def _message(self, record: logging.LogRecord) -> str:
        try:
            return record.getMessage()
        except (TypeError, ValueError, KeyError):
            return f"{record.msg} {record.args!r}"

    def _extra(self, record: logging.LogRecord) -> dict[str, object]:
        return {name: value for name, value in vars(record).items() if name not in self._not_extra}

    def _traceback(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[0] is not None:
            text = self.formatException(record.exc_info)
            # The text of an exception may hold all that a stranger sent.
            return (
                text
                if len(text) <= _MAX_TRACEBACK
                else f"{text[: _MAX_TRACEBACK // 2]}\n…\n{text[-_MAX_TRACEBACK // 2 :]}"
            )
        return record.stack_info or ""


class _Json(_Formatter):
    """Formats a line of ASCII. A newline or an escape sequence in a message stays inside its string."""

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
        fields |= self._extra(record)
        try:
            return self._encode(fields)
        except (TypeError, ValueError):  # NaN, a key that is no string, a cycle
            return self._encode({name: str(value) for name, value in fields.items()})

    def _time(self, created: float) -> str:
        second = int(created)
        if second != self._second:
            self._second = second
            self._to_the_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._to_the_second}.{int(created % 1 * 1000):03d}Z"


class _Readable(_Formatter):
    """Formats local time, level, message and the fields of `extra`, with a traceback below."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = self._in_colour(f"{record.levelname:<8}", _COLOURS.get(record.levelname, "0"))
        extra = " ".join(f"{name}={_printable(str(value))}" for name, value in self._extra(record).items())
        line = f"{clock} {level} {_printable(self._message(record))}"
        if extra:
            line += f"  {self._in_colour(extra, _DIM)}"
        return "\n".join([line, *map(_printable, self._traceback(record).splitlines())])

    def _in_colour(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


def _printable(text: str) -> str:
    """Escape control characters. Hostile text must not control the terminal or forge a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
