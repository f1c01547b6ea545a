"""Content list of a backup. It is written last: a backup without one was cut off."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from keda_jobs.backup.places import Place
from keda_jobs.errors import StoreUnavailable

FILE = "backup.json"
"""Name of the content list in a backup's folder."""


class DamagedBackup(StoreUnavailable):
    """A file of the backup is not as it was written: restore another backup."""


class Part(BaseModel):
    """File with the next bytes of a stream's snapshot."""

    model_config = ConfigDict(frozen=True)

    file: str = Field(pattern=r"^[0-9A-Za-z_-][0-9A-Za-z_.-]*$")
    bytes: int
    sha256: str


class StreamBackup(BaseModel):
    """Snapshot of one stream. `config` and `state` are the server's. Its parts joined are one archive."""

    model_config = ConfigDict(frozen=True)

    config: dict[str, Any]
    state: dict[str, Any]
    parts: tuple[Part, ...]

    @model_validator(mode="after")
    def _is_a_streams(self) -> Self:
        numbers = [self.state.get(key) for key in ("messages", "last_seq")]
        if not re.fullmatch("[0-9A-Za-z_-]+", str(self.config.get("name", ""))) or not all(
            isinstance(number, int) for number in numbers
        ):
            raise ValueError("config and state are no stream's")
        return self

    @property
    def name(self) -> str:
        """Name of the stream."""
        return str(self.config["name"])

    @property
    def messages(self) -> int:
        """Number of messages when the snapshot began."""
        return int(self.state["messages"])

    @property
    def bytes(self) -> int:
        """Size of all parts."""
        return sum(part.bytes for part in self.parts)


class Manifest(BaseModel):
    """Content list of a backup, in the order in which its streams are restored.

    `rewind` names the consumers that worked while the backup was taken, with the number of the message from which they
    read again. `created` is the server's time at which the events stream was made. One that is made anew or restored
    has another.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    created: str = ""
    server_version: str
    streams: tuple[StreamBackup, ...]
    rewind: dict[str, int]

    @property
    def bytes(self) -> int:
        """Size of all parts of all streams."""
        return sum(stream.bytes for stream in self.streams)


async def write_manifest(place: Place, manifest: Manifest) -> None:
    """Complete a backup."""
    await place.put(manifest_file(manifest.name), manifest.model_dump_json(indent=2).encode())


async def read_manifest(place: Place, name: str) -> Manifest:
    """Read the content list of a backup. Raises `FileMissing` for one that was cut off, and `DamagedBackup`."""
    try:
        manifest = Manifest.model_validate_json(await place.get(manifest_file(name)))
    except ValidationError as error:
        raise DamagedBackup(f"{manifest_file(name)} is no content list of a backup: restore another one") from error
    if manifest.name != name:
        raise DamagedBackup(f"{manifest_file(name)} belongs to the backup {manifest.name}: restore another one")
    return manifest


def manifest_file(name: str) -> str:
    """Return the file of a backup's content list."""
    return f"{name}/{FILE}"
