"""Manifest of a data set, `manifest.json`: its parameters and the content of each file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from keda_jobs.errors import Misconfigured
from users_seed.data_set import COLUMNS, FORMAT, ChunkFile, DataSet

NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Data set of a folder and its finished files by number."""

    data_set: DataSet
    files: tuple[ChunkFile, ...] = ()

    @property
    def is_complete(self) -> bool:
        """True when no file is missing."""
        return sum(file.rows for file in self.files) == self.data_set.rows

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.bytes for file in self.files)

    @property
    def invalid(self) -> int:
        """Number of invalid rows in the files."""
        return sum(file.invalid for file in self.files)

    def with_files(self, files: Iterable[ChunkFile]) -> Self:
        """Return the manifest with these files instead of its own."""
        return dataclasses.replace(self, files=tuple(sorted(files, key=lambda file: file.number)))

    def write(self, folder: Path) -> None:
        """Replace the folder's manifest."""
        content = {
            **self.data_set.as_json(),
            "columns": COLUMNS,
            "is_complete": self.is_complete,
            "invalid": self.invalid,
            "bytes": self.bytes,
            "files": [dataclasses.asdict(file) for file in self.files],
        }
        part = folder / f"{NAME}.part"
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        part.replace(folder / NAME)


def read(folder: Path) -> Manifest | None:
    """Return the manifest of `folder`, or None. Raises `Misconfigured` for an unusable one."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise Misconfigured(f"another version of this tool wrote {folder}; delete it or choose another --out")
        parameters = {field.name: content[field.name] for field in dataclasses.fields(DataSet)}
        return Manifest(DataSet(**parameters), tuple(ChunkFile(**file) for file in content["files"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"{folder / NAME} is damaged; delete the folder or choose another --out") from error


def complete(folder: Path) -> Manifest:
    """Return the manifest of a folder and check that all files exist with their sizes. Raises `Misconfigured`."""
    manifest = read(folder)
    if manifest is None:
        raise Misconfigured(f"{folder} holds no data set; write one with `users-batch-seed generate --out {folder}`")
    advice = f"run `users-batch-seed generate --out {folder}` again with the same options"
    if not manifest.is_complete:
        raise Misconfigured(f"the data set in {folder} is not finished; {advice}")
    for file in manifest.files:
        path = folder / file.file
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise Misconfigured(f"{path} differs from the manifest; {advice}")
    return manifest
