"""NATS on a disk of its own, so small that it can be filled."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from typing_extensions import override

from stack import NatsServer, Process, StackError

_SIZE = "32m"
_BLOCK = bytes(64 * 1024)


class SmallDisk(Process):
    """Process that holds a file system in memory. Nobody else sees it, and it is gone with its last process.

    Only Linux has these, for root or where users may have name spaces.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("small disk", folder / "disk.log")
        self._folder = folder / "disk"

    @override
    def prepare(self) -> None:
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            raise StackError("needs unshare and nsenter (util-linux)")
        self._folder.mkdir(parents=True)

    @override
    def command(self) -> list[str]:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        mount = f'mount -t tmpfs -o size={_SIZE} none "$0" && touch "$0/mounted" && exec sleep infinity'
        return ["unshare", *user, "--mount", "sh", "-c", mount, str(self._folder)]

    @override
    def answers(self) -> bool:
        return (self._inside / "mounted").exists()

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_BLOCK)

    def make_room(self) -> None:
        """Take away what `fill` wrote."""
        self._ballast.unlink(missing_ok=True)

    def server(self, folder: Path) -> NatsServer:
        """Return a server that stores on this disk."""
        return _Server(folder, self._folder, self)

    @property
    def _inside(self) -> Path:
        return Path(f"/proc/{self.pid}/root{self._folder.resolve()}")

    @property
    def _ballast(self) -> Path:
        return self._inside / "ballast"


class _Server(NatsServer):
    def __init__(self, folder: Path, store: Path, disk: SmallDisk) -> None:
        super().__init__(folder, extra=f'jetstream {{ store_dir: "{store}", sync_interval: always }}')
        self._disk = disk

    @override
    def command(self) -> list[str]:
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self._disk.pid}", *user, "--mount", "--", *super().command()]
