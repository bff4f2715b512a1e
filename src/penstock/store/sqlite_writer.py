"""What a process writes to SQLite: turns run in memory while the write lock is held, and are written together.

The first turn takes the write lock of the file. From then on nobody else can change hot state, so that further turns
run at once in the event loop, over what was read already. A few milliseconds later, or as soon as somebody must be sure
or another process knocks, all that has come together is written in one transaction and the lock is given back. One
thread does what SQLite does; the loop never waits for the disk.

What was read stays good for the next time unless another process has written meanwhile, which SQLite's data_version
tells. Processes that want the lock queue at a door: who waits for the lock holds the door, so that nobody is passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from penstock.store.ports import Records, StoreUnavailable, Turn
from penstock.store.spool import Spool
from penstock.store.sqlite_file import Batch, File, Promise, Syncs, Work
from penstock.store.sqlite_rows import Hot

log = structlog.get_logger()
_LINGER_S = 0.01
"""The write lock is held for so long, and plain accepts wait so long until they are written."""
_LOOK_S = 0.001
"""How often a holder looks whether another process waits."""
_SYNC_S = 0.06
"""Rows of plain accepts are on disk so long after they were written; the port promises 100 ms for both."""
_MOST_AT_ONCE = 256
_MOST_HOT_BYTES = 64 << 20
_HOT_BYTES = 200  # of an entry, besides its value


class _Update(Struct, eq=False):
    """An update whose turns wait for hot state to be read."""

    turns: Sequence[Turn]
    records: Callable[[], Records]
    keys: tuple[str, ...]
    now: float
    done: asyncio.Future[None]


class Writer:
    """Everything that changes in the file, of one process and one event loop."""

    def __init__(
        self, path: Path, connect: Callable[[], sqlite3.Connection], spool: Spool, now: Callable[[], float]
    ) -> None:
        self._file = File(path, connect, spool)
        self._now = now
        self._hot: dict[str, Hot] = {}
        self._hot_bytes = 0
        self._is_held = False
        self._held_since = 0.0
        self._batch, self._writing = Batch(), Batch()
        self._waiting: list[_Update] = []
        self._is_due = self._is_closed = self._is_doubtful = False
        self._wakeup = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "penstock-writer")
        self._syncs = Syncs(self._file.sync)
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take in updates. Raises OSError."""
        self._file.open_door()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """Write out what waits, and let go."""
        await self.settle()
        self._is_closed = self._is_due = True
        self._wakeup.set()
        if self._task is not None:
            await self._task
        await self._syncs.close()
        await self._loop.run_in_executor(self._thread, self._file.close)
        self._thread.shutdown()

    # What the store asks.

    async def update(self, turns: Sequence[Turn], records: Callable[[], Records]) -> None:
        """Run the turns and keep the records. Raises what they raise, and StoreUnavailable where SQLite cannot."""
        self._check()
        keys = tuple({key: None for turn in turns for key in turn.keys})
        "".join(keys).encode()  # what is no text fails alone, before it is among others
        one = _Update(turns, records, keys, self._now(), self._loop.create_future())
        if not keys or (self._is_held and self._hot.keys() >= set(keys)):
            self._turn(one)
        else:
            self._waiting.append(one)
            self._wakeup.set()
        # Shielded: a caller that goes away takes nothing back.
        if not one.done.done() or one.done.exception() is not None:
            await asyncio.shield(one.done)

    async def run(self, work: Work) -> Any:
        """Have a work done and committed. Raises what it raises, and StoreUnavailable where SQLite cannot."""
        self._check()
        promise = Promise(self._loop.create_future(), work=work)
        self._add(promise)
        assert promise.done is not None
        return await asyncio.shield(promise.done)

    def delivered(self, id: str, queue_id: str, row: bytes) -> None:
        """Keep a row of `deliveries` and the queue id of its decision; nobody waits for it. Raises StoreUnavailable."""
        self._check()
        self._batch.deliveries.append((id, row))
        if queue_id:
            self._batch.queue_ids.append((queue_id, id))
        self._plan(_LINGER_S)

    def newest(self, keys: Iterable[str]) -> Mapping[str, Hot]:
        """Hot state that readers of the file may not see yet; all of it that is asked for while the lock is held."""
        if self._is_held:
            return {key: self._hot[key] for key in keys if key in self._hot}
        unwritten = self._writing.state | self._batch.state
        return {key: unwritten[key] for key in keys if key in unwritten}

    async def settle(self) -> None:
        """Return when everything up to now is written, so that readers see it."""
        if self._task is not None and not (self._batch.is_empty and self._writing.is_empty and not self._waiting):
            with contextlib.suppress(StoreUnavailable):
                await self.run(lambda connection: (None, False))

    def _check(self) -> None:
        if self._is_closed or self._task is None:
            raise StoreUnavailable("the store is closed")

    # Turns.

    def _turn(self, one: _Update) -> None:
        """Run an update's turns in memory; what they raise leaves nothing."""
        hot, now = self._hot, one.now
        fresh: dict[str, Hot] = {}
        try:
            for turn in one.turns:
                seen = {}
                for key in turn.keys:
                    value, until = fresh[key] if key in fresh else hot[key]
                    seen[key] = value if until > now else None
                for key, write in turn.step(seen).items():
                    fresh[key] = (write.value, now + write.keep_s)
            kept = one.records()
        except Exception as trouble:
            one.done.set_exception(trouble)
            return
        hot.update(fresh)
        self._batch.state.update(fresh)
        self._hot_bytes += sum(_HOT_BYTES + len(value or b"") for value, _ in fresh.values())
        # After a failure nobody is told anything before it is written, until that goes again.
        must_wait = kept.must_be_durable or bool(kept.held) or self._is_doubtful
        self._add(Promise(one.done if must_wait else None, kept, is_durable=must_wait), is_due=must_wait)
        if not must_wait:
            one.done.set_result(None)

    def _add(self, promise: Promise, *, is_due: bool = True) -> None:
        self._batch.promises.append(promise)
        if is_due or len(self._batch.promises) >= _MOST_AT_ONCE:
            self._is_due = True
            self._wakeup.set()
        else:
            self._plan(_LINGER_S)

    def _plan(self, after_s: float) -> None:
        if self._timer is not None and self._timer.when() > self._loop.time() + after_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_later(after_s, self._look)

    def _look(self) -> None:
        """Write when it is time, or when somebody else waits for the lock."""
        self._timer = None
        if self._is_held and self._loop.time() - self._held_since < _LINGER_S and not self._file.is_wanted():
            self._plan(_LOOK_S)
            return
        self._is_due = True
        self._wakeup.set()

    # The one task, which has one thing done at a time in the thread.

    async def _run(self) -> None:
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            if self._waiting:
                await self._serve()
            if self._is_due:
                await self._write()
            if self._waiting:
                self._wakeup.set()
            elif self._is_closed:
                return

    async def _serve(self) -> None:
        """Hold the lock, know what the waiting updates need, and run them."""
        keys = list({key: None for one in self._waiting for key in one.keys})
        missing = [key for key in keys if key not in self._hot]
        if missing or not self._is_held:
            try:
                is_same, found = await self._loop.run_in_executor(self._thread, self._file.take, missing, keys)
            except Exception as trouble:
                self._lose(trouble, Batch())
                return
            self._learn(found, is_same)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if self._hot.keys() >= set(one.keys):
                self._turn(one)
            else:
                self._waiting.append(one)  # it came while the others' was read

    def _learn(self, found: Mapping[str, Hot], is_same: bool) -> None:
        if not is_same:
            self._hot, self._hot_bytes = {}, 0
        self._hot.update(found)
        self._hot_bytes += sum(_HOT_BYTES + len(value or b"") for value, _ in found.values())
        if not self._is_held:
            self._is_held, self._held_since = True, self._loop.time()
            self._plan(_LOOK_S)

    async def _write(self) -> None:
        """Write what has come together and give the lock back."""
        batch, self._batch = self._batch, Batch()
        self._writing, self._is_held, self._is_due = batch, False, False
        try:
            await self._loop.run_in_executor(self._thread, self._file.write, batch)
        except Exception as trouble:
            self._lose(trouble, batch)
            return
        finally:
            self._writing = Batch()
        self._is_doubtful = False
        if self._hot_bytes > _MOST_HOT_BYTES:
            self._hot, self._hot_bytes = {}, 0
        self._tell(batch)

    def _tell(self, batch: Batch) -> None:
        durable = []
        for one in batch.promises:
            if one.trouble is not None:
                _fail(one, one.trouble)
            elif one.done is None:
                continue
            elif one.is_durable:
                durable.append((one.done, one.result))
            else:
                one.done.set_result(one.result)
        if durable:
            self._syncs.now(durable)
        elif not batch.is_empty:
            self._syncs.soon(_SYNC_S)

    def _lose(self, trouble: Exception, batch: Batch) -> None:
        """SQLite cannot: nothing of this is written, and nothing that is known is sure."""
        unavailable = StoreUnavailable(f"{type(trouble).__name__}: {trouble}")
        waiting, self._waiting = self._waiting, []
        for update in waiting:
            update.done.set_exception(unavailable)
        for one in (*batch.promises, *self._batch.promises):
            _fail(one, unavailable)
        self._batch, self._hot, self._hot_bytes, self._is_held = Batch(), {}, 0, False
        self._is_doubtful = True


def _fail(one: Promise, trouble: Exception) -> None:
    """Tell whoever waits; of plain accepts only the log can tell."""
    if one.done is not None:
        one.done.set_exception(trouble)
    elif one.kept is not None:
        log.error("not-kept", decisions=[row.decision.id for row in one.kept.decisions], trouble=repr(trouble))
