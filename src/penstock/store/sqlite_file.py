"""The file of the SQLite store as its writer sees it: the write lock, one transaction for a batch, and the disk."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

from penstock.store.ports import Records, StoreUnavailable
from penstock.store.spool import Spool
from penstock.store.sqlite_rows import Hot, insert, read_hot, write_hot, write_records

_BUSY_S = 10.0
_QUEUED = "UPDATE decisions SET queue_id = ? WHERE id = ? AND queue_id = ''"

Work = Callable[[sqlite3.Connection], tuple[Any, bool]]
"""Writes within an open transaction; its result, and whether that must survive power loss before anybody is told."""


class Promise(Struct, eq=False):
    """Something of a batch that somebody waits for; None in `done`: nobody does."""

    done: asyncio.Future[Any] | None
    kept: Records | None = None
    work: Work | None = None
    result: Any = None
    trouble: Exception | None = None
    is_durable: bool = True


class Batch(Struct, eq=False):
    """What goes into one transaction."""

    state: dict[str, Hot] = {}
    promises: list[Promise] = []
    deliveries: list[tuple[str, bytes]] = []
    queue_ids: list[tuple[str, str]] = []
    """(the next hop's queue id, decision)."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write and nobody to tell."""
        return not (self.state or self.promises or self.deliveries)


class Syncs:
    """Brings the write-ahead log to the disk: what `synchronous=FULL` would do after each commit, once for many."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._waiting: list[tuple[asyncio.Future[Any], Any]] = []
        self._is_asked = False
        self._thread = ThreadPoolExecutor(1, "penstock-sync")
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def now(self, waiting: Sequence[tuple[asyncio.Future[Any], Any]] = ()) -> None:
        """Sync what is committed, then tell these their results, or StoreUnavailable."""
        self._waiting += waiting
        self._is_asked = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def soon(self, after_s: float) -> None:
        """Sync what is committed after a while."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(after_s, self.now)

    async def _run(self) -> None:
        while self._is_asked:
            self._is_asked = False
            waiting, self._waiting = self._waiting, []
            trouble: StoreUnavailable | None = None
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._sync)
            except OSError as fault:
                trouble = StoreUnavailable(f"{type(fault).__name__}: {fault}")
            for done, result in waiting:
                done.set_result(result) if trouble is None else done.set_exception(trouble)
        self._task = None

    async def close(self) -> None:
        """Sync a last time."""
        self.now()
        if self._task is not None:
            await self._task
        self._thread.shutdown()


class File:
    """The file as the writer thread sees it."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], spool: Spool) -> None:
        self._wal = Path(f"{path}-wal")
        self._door_path = path.with_name(path.name + ".door")
        self._connect = connect
        self._spool = spool
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._door: IO[bytes] | None = None

    def open_door(self) -> None:
        """Open the file by which processes queue. Raises OSError."""
        self._door = open(self._door_path, "ab", opener=lambda path, flags: os.open(path, flags, 0o640))  # noqa: SIM115

    def is_wanted(self) -> bool:
        """Whether another process waits at the door."""
        if not self._pass_door(fcntl.LOCK_EX):
            return True
        self._pass_door(fcntl.LOCK_UN)
        return False

    def _pass_door(self, how: int) -> bool:
        assert self._door is not None
        try:
            fcntl.flock(self._door, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take(self, missing: Sequence[str], keys: Sequence[str]) -> tuple[bool, dict[str, Hot]]:
        """Hold the lock; whether nobody else has written since last time, and what is missing, or else all keys."""
        with self._or_drop() as connection:
            if connection.in_transaction:
                return True, read_hot(connection, missing)
            self._begin(connection)
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            is_same, self._version = version == self._version, version
            return is_same, read_hot(connection, missing if is_same else keys)

    def write(self, batch: Batch) -> None:
        """Write a batch and commit; the promises are told what came of each. Raises sqlite3.Error, OSError."""
        with self._or_drop() as connection:
            if not connection.in_transaction:
                if batch.is_empty:
                    return
                self._begin(connection)
            write_hot(connection, batch.state)
            self._write_records(connection, [one for one in batch.promises if one.kept is not None])
            insert(connection, "INSERT OR REPLACE INTO deliveries VALUES", batch.deliveries)
            connection.executemany(_QUEUED, batch.queue_ids)
            for one in batch.promises:
                if one.work is not None:
                    self._do(connection, one, one.work)
            connection.execute("COMMIT")

    def _write_records(self, connection: sqlite3.Connection, promises: Sequence[Promise]) -> None:
        """All together where that goes; else one by one, so that one that cannot be kept fails alone."""
        for one in promises:
            self._put_held(one)
        kept = [one for one in promises if one.trouble is None]
        together = Promise(None)
        self._do(connection, together, lambda _: _keep(connection, [one.kept for one in kept if one.kept is not None]))
        if together.trouble is not None:
            for one in kept:
                self._do(connection, one, lambda _, one=one: _keep(connection, [one.kept]))  # type: ignore[misc]

    def _put_held(self, one: Promise) -> None:
        # Files first: a row is never there without its message; a file without a row is swept up later.
        assert one.kept is not None
        try:
            for message in one.kept.held:
                self._spool.put(message.held.id, message.raw)
        except OSError as trouble:
            one.trouble = trouble

    def _do(self, connection: sqlite3.Connection, one: Promise, work: Work) -> None:
        """Do a work that takes back only its own writes when it raises."""
        connection.execute("SAVEPOINT one")
        try:
            one.result, one.is_durable = work(connection)
        except sqlite3.DatabaseError:
            raise
        except Exception as trouble:
            one.trouble = trouble
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Take the write lock, which other processes hold for milliseconds. Raises sqlite3.OperationalError."""
        until = time.monotonic() + _BUSY_S
        try:
            while not (self._pass_door(fcntl.LOCK_EX) and _has_begun(connection)):
                if time.monotonic() > until:
                    raise sqlite3.OperationalError("the database is locked by another process")
                time.sleep(0.0003)
        finally:
            self._pass_door(fcntl.LOCK_UN)

    @contextlib.contextmanager
    def _or_drop(self) -> Iterator[sqlite3.Connection]:
        """The connection, which is closed with what it has begun where anything fails."""
        if self._connection is None:
            self._connection, self._version = self._connect(), -1
            self._connection.execute("PRAGMA busy_timeout = 0")  # waiting is `_begin`'s
        try:
            yield self._connection
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
                connection.close()

    def sync(self) -> None:
        """Bring the write-ahead log to the disk. Raises OSError."""
        try:
            descriptor = os.open(self._wal, os.O_RDWR)
        except FileNotFoundError:
            return  # checkpointed and gone: the database itself was synced by that
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go."""
        self._drop()
        if self._door is not None:
            self._door.close()


def _keep(connection: sqlite3.Connection, kept: Sequence[Records]) -> tuple[None, bool]:
    write_records(connection, kept)
    return None, True


def _has_begun(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as trouble:
        if "locked" not in str(trouble):
            raise
        return False
    return True
