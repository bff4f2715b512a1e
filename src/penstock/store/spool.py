"""Held messages as files: whole and on disk before anybody is told that they are kept."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

_ORPHAN_S = 3600.0


class Spool:
    """A folder of messages by id, spread over subfolders by the id's last two characters."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, id: str, raw: bytes) -> None:
        """Write a message durably: file and folder are synced before this returns. Raises OSError."""
        path = self._path(id)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self._folder)
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        with open(unfinished, "wb", opener=_private) as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)

    def get(self, id: str) -> bytes | None:
        """A message's bytes; None where it is not there."""
        try:
            return self._path(id).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, id: str) -> None:
        """Remove a message; nothing where it is gone already."""
        self._path(id).unlink(missing_ok=True)

    def sweep(self, is_known: Callable[[str], bool]) -> int:
        """Remove what a crash left behind: files an hour old that no row knows; how many went."""
        count, before = 0, time.time() - _ORPHAN_S
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                is_left = path.suffix == ".tmp" or (path.suffix == ".eml" and not is_known(path.stem))
                if is_left and path.stat().st_mtime < before:
                    path.unlink()
                    count += 1
        return count

    def _path(self, id: str) -> Path:
        if not id.isalnum():
            raise FileNotFoundError(f'"{id}" is no id')
        return self._folder / id[-2:] / f"{id}.eml"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
