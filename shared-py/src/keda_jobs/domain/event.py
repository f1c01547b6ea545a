"""Typed events: JSON in, JSON out, and a readable reason for everything that is not an event."""

from __future__ import annotations

import json
from typing import Any, ClassVar, NoReturn, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from keda_jobs.errors import Permanent


class InvalidEvent(Permanent):
    """The message body is not the event its subject promises, or a returned event cannot be written as JSON."""


class Event(BaseModel):
    """Base of a job's view of an event. Unknown fields pass (a tolerant reader), wrong types do not.

    A subclass names its subject: `class ImageDownload(Event, subject="image-download")`.
    """

    # Written as constants, NaN and infinity are found when the event is encoded. The default is a silent null.
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, ser_json_inf_nan="constants")

    subject: ClassVar[str]

    def __init_subclass__(cls, *, subject: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if subject is not None:
            cls.subject = subject

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the event in `data`. Raises `InvalidEvent` with the reason in one line."""
        check_strict_json(data)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise InvalidEvent(_first_reason(cls, error)) from error

    def encode(self) -> bytes:
        """Return the event as UTF-8 JSON that `decode` reads. Raises `InvalidEvent` for values that are not JSON."""
        try:
            data = self.model_dump_json().encode()
        except ValueError as error:
            raise InvalidEvent(f"{type(self).__name__} cannot be written as JSON: {error}") from error
        check_strict_json(data)
        return data


def check_strict_json(data: bytes) -> None:
    """Raise `InvalidEvent` for JSON that two readers could understand differently.

    The standard parser accepts NaN and duplicate keys. RFC 8259 has no NaN, and RFC 8785 (I-JSON) forbids duplicate
    keys and lone surrogates.
    """
    try:
        text = data.decode()
        value = _STRICT.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"not UTF-8: byte {error.start} is 0x{data[error.start]:02x}") from error
    except UnicodeEncodeError as error:
        raise InvalidEvent("a string holds half a surrogate pair") from error
    except RecursionError as error:
        raise InvalidEvent("JSON is nested too deeply") from error
    except ValueError as error:
        raise InvalidEvent(f"not JSON: {error}") from error


def is_strict_json(data: bytes) -> bool:
    """Return whether `check_strict_json` accepts `data`."""
    try:
        check_strict_json(data)
    except InvalidEvent:
        return False
    return True


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise InvalidEvent(f"the key {key[:80]!r} occurs twice in one object")
        fields[key] = value
    return fields


def _no_constant(name: str) -> NoReturn:
    raise InvalidEvent(f"{name} is not JSON")


def _first_reason(event: type[Event], error: ValidationError) -> str:
    reasons = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join(str(part) for part in reasons[0]["loc"])[:200]
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{event.__name__}: {where + ': ' if where else ''}{reasons[0]['msg'][:300]}{more}"


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)
