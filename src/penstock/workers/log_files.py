"""Following a log file through rotation, truncation and restarts, with a place to come back to.

A place is the file's inode, how far it was read, and a fingerprint of its first bytes. The inode tells a renamed log
from its successor; the fingerprint tells a file that was copied and cut (copytruncate), or whose inode was given out
again, from the one that was being read. What was left unread in a log that has moved is looked for among its siblings
(`mail.log.1`, `mail.log-20260901`, also gzipped) and read first.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
from pathlib import Path
from typing import IO, cast

import msgspec
from msgspec import Struct

BLOCK_BYTES = 1024 * 1024
_HEAD_BYTES = 256
_MOST_SIBLINGS = 400


class Place(Struct, frozen=True):
    """How far a log has been read."""

    inode: int
    offset: int
    head: str = ""
    """Fingerprint of the first bytes."""
    head_bytes: int = 0

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Place | None:
        """Read a kept place back; None where there is none, or it is none."""
        try:
            return msgspec.msgpack.decode(data, type=cls) if data else None
        except msgspec.DecodeError:
            return None

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return msgspec.msgpack.encode(self)


class LogFile:
    """One log, read from where it was left. Not safe for threads."""

    def __init__(self, path: Path, place: Place | None, *, from_start: bool = False) -> None:
        """Without a place reading begins at the end, as a log's past may be any long; or at its start."""
        self._path = path
        self._place = place
        self._from_start = from_start
        self._file: IO[bytes] | None = None
        self._sibling: Path | None = None
        """The log's earlier file that is being read; None for the log itself."""

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def place(self) -> Place | None:
        """Where reading goes on; None where there is no log yet. Raises OSError for a log one may not read."""
        return self._place if self._file is not None or self._open() else None

    def read(self) -> tuple[bytes, Place] | None:
        """The next whole lines and the place after them; None where nothing is new. Raises OSError as `place` does."""
        while True:
            if self._file is None and not self._open():
                return None
            assert self._place is not None
            if self._was_cut():
                self.close()
                if not self._open_earlier(self._place):
                    self._open_at(self._path, None)
                continue
            # Once more after a successor was seen: what was written in between.
            if (block := self._lines()) or (self._has_successor() and (block := self._lines())):
                return block, self._place
            if not self._has_successor() or not self._move_on():
                return None

    def _open(self) -> bool:
        """Open the log that the place is in; False where there is no log."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            self._from_start = True  # what comes to be from now on is new from its first line
            return self._place is not None and self._open_earlier(self._place)
        place = self._place
        if place is None:
            start = 0 if self._from_start else _last_line(self._path, now.st_size)
            return self._open_at(self._path, Place(now.st_ino, start))
        if now.st_ino == place.inode and now.st_size >= place.offset and _head(self._path, place) == place.head:
            return self._open_at(self._path, place)
        return self._open_earlier(place) or self._open_at(self._path, None)

    def _open_earlier(self, place: Place) -> bool:
        """The log under the name that it has now, where there is one."""
        for path in reversed(self._siblings()):
            with contextlib.suppress(OSError, EOFError):
                # Of a log of which nothing was read yet, only the inode is known.
                is_it = _head(path, place) == place.head if place.head_bytes else path.stat().st_ino == place.inode
                if is_it and self._open_at(path, place):
                    self._sibling = path
                    return True
        return False

    def _siblings(self) -> list[Path]:
        """The log's earlier files, oldest first."""
        dated = [(_written_at(path), path) for path in self._path.parent.glob(f"{self._path.name}[.-]*")]
        return [path for _, path in sorted(dated)[-_MOST_SIBLINGS:]]

    def _open_at(self, path: Path, place: Place | None) -> bool:
        """Open a file at a place; without one, at its start."""
        self.close()
        try:
            file = _unpacked(path)
            place = place or Place(path.stat().st_ino, 0)
        except FileNotFoundError:
            return False
        self._file, self._sibling = file, None
        self._place = self._at(place, place.offset)
        return True

    def _at(self, place: Place, offset: int) -> Place:
        """A place further on in the open file, with the fingerprint of all that it may cover by then."""
        assert self._file is not None
        count = min(offset, _HEAD_BYTES)
        if count == place.head_bytes:
            return Place(place.inode, offset, place.head, count)
        self._file.seek(0)
        return Place(place.inode, offset, _fingerprint(self._file.read(count)), count)

    def _lines(self) -> bytes:
        """Whole lines from the place on. A line longer than a block is none, and skipped."""
        assert self._file is not None and self._place is not None
        self._file.seek(self._place.offset)
        block = self._file.read(BLOCK_BYTES)
        end = block.rfind(b"\n") + 1
        if not end and len(block) < BLOCK_BYTES:
            return b""
        end = end or len(block)
        self._place = self._at(self._place, self._place.offset + end)
        return block[:end]

    def _was_cut(self) -> bool:
        """Whether the open log is shorter than what was read of it, or begins otherwise."""
        assert self._file is not None and self._place is not None
        if self._sibling is not None:
            return False
        if os.fstat(self._file.fileno()).st_size < self._place.offset:
            return True
        self._file.seek(0)
        return _fingerprint(self._file.read(self._place.head_bytes)) != self._place.head

    def _move_on(self) -> bool:
        """At the end of a file: go to the one that came after it, where there is one with something in it."""
        assert self._place is not None
        mine = self._sibling or next((one for one in self._siblings() if _inode(one) == self._place.inode), None)
        later = [one for one in self._siblings() if mine and _written_at(one) > _written_at(mine)]
        if later and self._open_at(later[0], None):
            self._sibling = later[0]
            return True
        return self._open_at(self._path, None)

    def _has_successor(self) -> bool:
        """Whether the log is another file by now. Until its first line, the old one may still be written to."""
        assert self._place is not None
        if self._sibling is not None:
            return True
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        return now.st_ino != self._place.inode and now.st_size > 0


def _last_line(path: Path, size: int) -> int:
    """Where the last line that is not yet whole begins."""
    with path.open("rb") as file:
        file.seek(max(0, size - 65536))
        start = file.tell()
        return start + file.read(size - start).rfind(b"\n") + 1


def _head(path: Path, place: Place) -> str:
    if not place.head_bytes:
        return place.head
    with _unpacked(path) as file:
        return _fingerprint(file.read(place.head_bytes))


def _unpacked(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _fingerprint(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=12).hexdigest() if head else ""


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
