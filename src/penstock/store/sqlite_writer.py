"""The one thread of a process that writes to SQLite: what waits goes together into one transaction and one fsync."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from penstock.store.ports import StoreUnavailable

_MOST_AT_ONCE = 256
_BUSY_S = 10.0
_SYNC_EVERY_S = 0.08
"""Rows of plain accepts are on disk after this; the port promises 100 ms."""

Work = Callable[[sqlite3.Connection], tuple[Any, bool]]
"""Writes within an open transaction; its result, and whether that must survive power loss before anybody is told."""


class _Job(Struct, eq=False):
    work: Work
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Writer:
    """Runs works one after another, many to a transaction; a work that raises takes back only its own writes."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._wal = Path(f"{path}-wal")
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="penstock-writer", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._unsynced_since = 0.0
        self._is_closed = False

    def start(self) -> None:
        """Begin to take in works."""
        self._thread.start()

    async def run(self, work: Work) -> Any:
        """Have a work done and committed. Raises what it raises, and StoreUnavailable where SQLite cannot."""
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        self._jobs.put(job)
        # Shielded: a caller that goes away takes nothing back, and the writer never meets a cancelled future halfway.
        return await asyncio.shield(job.done)

    def close(self) -> None:
        """Write out what waits and end the thread. Blocks."""
        self._is_closed = True
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            jobs, is_last = self._take()
            if jobs:
                self._commit(jobs)
            self._sync_if_due(is_last)
            if is_last:
                if self._connection is not None:
                    self._connection.close()
                return

    def _take(self) -> tuple[list[_Job], bool]:
        """Everything that waits, at most so many; waits for the first, but not longer than the next sync is due."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=_SYNC_EVERY_S if self._unsynced_since else None)
            while job is not None:
                jobs.append(job)
                if len(jobs) >= _MOST_AT_ONCE:
                    return jobs, False
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            outcomes = self._transact(jobs)
        except (sqlite3.Error, OSError) as trouble:
            self._drop_connection()
            unavailable = StoreUnavailable(f"{type(trouble).__name__}: {trouble}")
            outcomes = [unavailable] * len(jobs)
        except BaseException as trouble:  # the thread must outlive whatever one batch brings
            self._drop_connection()
            outcomes = [StoreUnavailable(repr(trouble))] * len(jobs)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        for job, outcome in zip(jobs, outcomes, strict=True):
            by_loop.setdefault(job.loop, []).append((job.done, outcome))
        for loop, results in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_tell, results)

    def _transact(self, jobs: list[_Job]) -> list[Any]:
        connection = self._open()
        _begin(connection)
        outcomes: list[Any] = []
        must_sync = False
        for job in jobs:
            connection.execute("SAVEPOINT one")
            try:
                result, is_durable = job.work(connection)
                connection.execute("RELEASE one")
                outcomes.append(_Result(result))
                must_sync = must_sync or is_durable
            except (sqlite3.OperationalError, sqlite3.DatabaseError):
                raise
            except Exception as trouble:
                connection.execute("ROLLBACK TO one")
                connection.execute("RELEASE one")
                outcomes.append(trouble)
        connection.execute("COMMIT")
        self._unsynced_since = self._unsynced_since or time.monotonic()
        if must_sync:
            self._sync()
        return outcomes

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.rollback()
                connection.close()
            except sqlite3.Error:
                return

    def _sync_if_due(self, now_please: bool) -> None:
        if self._unsynced_since and (now_please or time.monotonic() - self._unsynced_since >= _SYNC_EVERY_S):
            try:
                self._sync()
            except OSError:
                self._drop_connection()
                self._unsynced_since = 0.0

    def _sync(self) -> None:
        """What `synchronous=FULL` would do after each commit, once for many: the write-ahead log reaches the disk."""
        try:
            descriptor = os.open(self._wal, os.O_RDWR)
        except FileNotFoundError:
            self._unsynced_since = 0.0  # checkpointed and gone: the database itself was synced by that
            return
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._unsynced_since = 0.0


class _Result(Struct):
    """Tells a result from an exception that is one."""

    value: Any


def _begin(connection: sqlite3.Connection) -> None:
    """Take the write lock, which other processes hold for milliseconds. Raises sqlite3.OperationalError."""
    until, pause_s = time.monotonic() + _BUSY_S, 0.0005
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as trouble:
            if "locked" not in str(trouble) or time.monotonic() > until:
                raise
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.01)


def _tell(results: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for done, outcome in results:
        if done.done():
            continue
        if isinstance(outcome, _Result):
            done.set_result(outcome.value)
        else:
            done.set_exception(outcome)


def read_state(connection: sqlite3.Connection, keys: tuple[str, ...], now: float) -> Mapping[str, bytes | None]:
    """Hot state by keys, what has lapsed left out."""
    state: dict[str, bytes | None] = dict.fromkeys(keys)
    marks = ",".join("?" * len(keys))
    rows = connection.execute(f"SELECT key, value, until FROM state WHERE key IN ({marks})", keys)  # noqa: S608
    for key, value, until in rows:
        if until > now:
            state[key] = value
    return state
