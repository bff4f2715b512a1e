"""Memory in one SQLite file, for one host: several processes share it, held mail lies beside it as files.

Everything that changes goes through the process's one writer (`sqlite_writer`); reads have connections of their own and
see what was committed, after what this process had still to write. The write lock is held from before a turn's first
read until its commit, so turns of all processes come one after another.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from penstock.model import AccountRow, Audit, DecisionRow, Delivered, Event, Held, OutboxItem
from penstock.sending import Case, Listing, ListingChange
from penstock.store import sqlite_listings, sqlite_pools
from penstock.store.migrations import migrations
from penstock.store.ports import (
    AccountSearch,
    DecisionSearch,
    PoolRecords,
    PoolState,
    Records,
    StoreUnavailable,
    Turn,
)
from penstock.store.search import accounts_sql, decisions_sql, events_sql, held_conditions
from penstock.store.spool import Spool
from penstock.store.sqlite_learnt import SqliteLearnt
from penstock.store.sqlite_people import SqlitePeople
from penstock.store.sqlite_rows import read_hot, write_records
from penstock.store.sqlite_writer import Writer

T = TypeVar("T")
_READERS = 4
_encode = msgspec.msgpack.Encoder().encode
_decision = msgspec.msgpack.Decoder(DecisionRow).decode
_delivered = msgspec.msgpack.Decoder(Delivered).decode
_event = msgspec.msgpack.Decoder(Event).decode
_account = msgspec.msgpack.Decoder(AccountRow).decode
_held = msgspec.msgpack.Decoder(Held).decode
_audit = msgspec.msgpack.Decoder(Audit).decode
_outbox = msgspec.msgpack.Decoder(OutboxItem).decode


class SqliteStore(SqliteLearnt, SqlitePeople):
    """The whole contract over one file."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        """`path` is the database; `held/` beside it keeps messages. `now` is asked for lifetimes of hot state."""
        self._path = path
        self._now = now
        self._spool = Spool(path.parent / "held")
        self._writer = Writer(path, self._connect, self._spool, now)
        self._readers: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def open(self) -> None:
        """Make or update the database. Raises StoreUnavailable."""
        try:
            await asyncio.to_thread(self._migrate)
            self._writer.start()
        except (sqlite3.Error, OSError) as trouble:
            raise StoreUnavailable(f"{self._path}: {trouble}") from trouble
        self._readers = ThreadPoolExecutor(_READERS, "penstock-reader")

    async def close(self) -> None:
        """Write out what waits, and let go."""
        readers, self._readers = self._readers, None
        if readers is None:
            return
        await self._writer.close()
        await asyncio.to_thread(readers.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    # Hot state.

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        """Read hot state without locking it."""
        now = self._now()
        newest = self._writer.newest(keys)
        missing = [key for key in keys if key not in newest]
        older = await self._answer(lambda connection: read_hot(connection, missing)) if missing else {}
        return {key: value if until > now else None for key, (value, until) in {**older, **newest}.items()}

    async def update(self, turns: Sequence[Turn], records: Callable[[], Records]) -> None:
        """Run the turns and keep the records, all in one transaction."""
        await self._writer.update(turns, records)

    # Decisions.

    async def delivered(self, delivered: Delivered) -> None:
        """Keep what the next hop answered."""
        self._writer.delivered(delivered.decision_id, delivered.queue_id, _encode(delivered))

    async def decision(self, id: str) -> DecisionRow | None:
        """One decision by id."""
        return await self._one(_decision, "SELECT row FROM decisions WHERE id = ?", (id,))

    async def decisions(self, search: DecisionSearch) -> list[DecisionRow]:
        """Decisions, newest first, one page."""
        sql, values = decisions_sql(search, "decisions.row", "?", "CROSS JOIN")
        return await self._all(_decision, sql, tuple(values))

    async def delivery(self, decision_id: str) -> Delivered | None:
        """What the next hop answered for a decision."""
        return await self._one(_delivered, "SELECT row FROM deliveries WHERE id = ?", (decision_id,))

    async def events(self, account: str, *, limit: int = 50, before: tuple[float, str] | None = None) -> list[Event]:
        """What came back about an account, newest first, one page."""
        sql, values = events_sql(account, before, "row", "?")
        return await self._all(_event, f"{sql} LIMIT ?", (*values, limit))

    # Accounts.

    async def accounts(self, search: AccountSearch) -> list[AccountRow]:
        """Accounts, one page."""
        sql, values = accounts_sql(search, "row", "?", "LIKE")
        return await self._all(_account, sql, tuple(values))

    async def account(self, account: str) -> AccountRow | None:
        """One account's row."""
        return await self._one(_account, "SELECT row FROM accounts WHERE account = ?", (account,))

    # Held mail.

    async def held(
        self, *, account: str = "", tenant: str = "", state: str = "held", limit: int = 50, before: str = ""
    ) -> list[Held]:
        """Held messages, newest first, one page."""
        where, values = held_conditions(account, tenant, state, before, "?")
        sql = f"SELECT row FROM held WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608
        return await self._all(_held, sql, (*values, limit))

    async def held_one(self, id: str) -> Held | None:
        """One held message's facts."""
        return await self._one(_held, "SELECT row FROM held WHERE id = ?", (id,))

    async def held_raw(self, id: str) -> bytes | None:
        """One held message's bytes."""
        one = await self.held_one(id)
        if one is None or one.state not in ("held", "releasing"):
            return None
        try:
            return await asyncio.to_thread(self._spool.get, id)
        except OSError as trouble:
            raise StoreUnavailable(str(trouble)) from trouble

    async def claim_held(self, id: str, *, now: float, lease_s: float) -> bool:
        """Move `held`, or a `releasing` whose lease ran out, to `releasing`."""

        def work(connection: sqlite3.Connection) -> tuple[bool, bool]:
            found = connection.execute("SELECT row, state, lease_until FROM held WHERE id = ?", (id,)).fetchone()
            if found is None or not (found[1] == "held" or (found[1] == "releasing" and found[2] <= now)):
                return False, False
            row = _encode(replace(_held(found[0]), state="releasing", changed_at=now))
            sql = "UPDATE held SET state = 'releasing', lease_until = ?, row = ? WHERE id = ?"
            connection.execute(sql, (now + lease_s, row, id))
            return True, True

        return bool(await self._writer.run(work))

    async def settle_held(self, id: str, state: str, *, now: float, audit: Audit) -> bool:
        """End a claim, with its audit entry; the bytes of what is not kept any longer go after that."""

        def work(connection: sqlite3.Connection) -> tuple[bool, bool]:
            found = connection.execute("SELECT row, state FROM held WHERE id = ?", (id,)).fetchone()
            if found is None or found[1] != "releasing":
                return False, False
            row = _encode(replace(_held(found[0]), state=state, changed_at=now))
            connection.execute("UPDATE held SET state = ?, lease_until = 0, row = ? WHERE id = ?", (state, row, id))
            write_records(connection, [Records(audit=(audit,))])
            return True, True

        is_settled = bool(await self._writer.run(work))
        if is_settled and state != "held":
            try:
                await asyncio.to_thread(self._spool.remove, id)
            except OSError as trouble:
                raise StoreUnavailable(str(trouble)) from trouble
        return is_settled

    async def expired_held(self, *, before: float, limit: int = 100) -> list[Held]:
        """Messages still `held` that were held before a time."""
        sql = "SELECT row FROM held WHERE state = 'held' AND held_at < ? ORDER BY held_at LIMIT ?"
        return await self._all(_held, sql, (before, limit))

    # Audit, outbox, small values.

    async def audit(self, *, target: str = "", limit: int = 50, before: float = 0.0) -> list[Audit]:
        """Audit entries, newest first."""
        sql = (
            "SELECT row FROM audit WHERE (? = '' OR target = ?) AND (? = 0 OR at < ?) "
            "ORDER BY at DESC, number DESC LIMIT ?"
        )
        return await self._all(_audit, sql, (target, target, before, before, limit))

    async def outbox(self, *, topic: str, limit: int = 50) -> list[OutboxItem]:
        """Actions not yet carried out, oldest first."""
        sql = "SELECT row FROM outbox WHERE topic = ? AND done_at IS NULL ORDER BY at, key LIMIT ?"
        return await self._all(_outbox, sql, (topic, limit))

    async def outbox_done(self, key: str, *, at: float, outcome: str) -> None:
        """Record that an action was carried out."""
        await self._write("UPDATE outbox SET done_at = ?, outcome = ? WHERE key = ?", (at, outcome, key))

    async def listings(self, *, target: str = "", current_only: bool = True) -> list[Listing]:
        """Listings by target, list and time."""
        return await self._ask(lambda connection: sqlite_listings.find(connection, target, current_only=current_only))

    async def latest_listings(self, *, current_only: bool, limit: int) -> list[Listing]:
        """Listings of all targets, the latest first."""
        sql = "SELECT row FROM listings WHERE (NOT ? OR until = 0) ORDER BY since DESC, target, list LIMIT ?"
        return await self._all(sqlite_listings.listing, sql, (current_only, limit))

    async def listing_changes(self, *, after: int, limit: int = 100) -> list[ListingChange]:
        """Changes with a number above one, in order."""
        return await self._ask(lambda connection: sqlite_listings.changes(connection, after=after, limit=limit))

    async def record_listings(self, seen: Sequence[ListingChange]) -> None:
        """Keep what was seen on lists."""

        def work(connection: sqlite3.Connection) -> tuple[None, bool]:
            sqlite_listings.record(connection, seen)
            return None, True

        await self._writer.run(work)

    async def pool_state(self) -> PoolState:
        """States of IPs by IP, and pins by account."""
        return await self._ask(sqlite_pools.state)

    async def record_pools(self, records: PoolRecords) -> None:
        """Keep changes of pools."""

        def work(connection: sqlite3.Connection) -> tuple[None, bool]:
            sqlite_pools.record(connection, records)
            return None, True

        await self._writer.run(work)

    async def cases(self, *, open_only: bool = False, limit: int = 50) -> list[Case]:
        """Cases, newest first."""
        sql = "SELECT row FROM cases WHERE (NOT ? OR closed_at = 0) ORDER BY id DESC LIMIT ?"
        return await self._all(sqlite_pools.case, sql, (open_only, limit))

    async def case(self, id: str) -> Case | None:
        """One case by id."""
        return await self._one(sqlite_pools.case, "SELECT row FROM cases WHERE id = ?", (id,))

    async def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small named value, durably."""
        await self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    async def meta(self, key: str) -> bytes | None:
        """Read a small named value."""
        return await self._one(bytes, "SELECT value FROM meta WHERE key = ?", (key,))

    async def expire(self, *, now: float, decisions_before: float) -> int:
        """Delete what is past its time, in steps that leave room for mail in between."""
        gone = 0
        # Ids grow with time: only the oldest are looked at, not the whole table where none is too old.
        oldest = "DELETE FROM decisions WHERE at < ? AND id IN (SELECT id FROM decisions ORDER BY id LIMIT 500)"
        steps = (
            ("DELETE FROM state WHERE key IN (SELECT key FROM state WHERE until <= ? LIMIT 500)", now),
            (oldest, decisions_before),
            (
                "DELETE FROM events WHERE (account, at, key) IN "
                "(SELECT account, at, key FROM events WHERE at < ? LIMIT 500)",
                decisions_before,
            ),
        )
        for sql, before in steps:
            while True:
                count = await self._write(sql, (before,), is_durable=False)
                gone += count
                if count < 500:
                    break
                await asyncio.sleep(0.01)
        for table in ("recipients", "deliveries", "sent"):
            # A delivery may be written a moment before its decision's row; only what is far older than any kept goes.
            sql = f"DELETE FROM {table} WHERE id < (SELECT coalesce(min(id), '') FROM decisions)"  # noqa: S608
            await self._write(sql, (), is_durable=False)
        known = {one.id for one in await self.held(state="", limit=1_000_000) if one.state in ("held", "releasing")}
        await asyncio.to_thread(self._spool.sweep, known.__contains__)
        return gone

    async def counts(self) -> Mapping[str, int]:
        """Row counts."""
        sql = (
            "SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM accounts), "
            "(SELECT count(*) FROM held WHERE state = 'held'), (SELECT count(*) FROM outbox WHERE done_at IS NULL), "
            "(SELECT count(*) FROM audit)"
        )
        row = await self._ask(lambda connection: connection.execute(sql).fetchone())
        return dict(zip(("decisions", "accounts", "held", "outbox", "audit"), row, strict=True))

    # How it is done.

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the file, after everything up to now is in it."""
        await self._writer.settle()
        return await self._answer(question)

    async def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        if self._readers is None:
            raise StoreUnavailable("the store is closed")

        def answer() -> T:
            if not hasattr(self._local, "connection"):
                self._local.connection = self._connect()
                self._connections.append(self._local.connection)
            return question(self._local.connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, answer)
        except (sqlite3.Error, OSError) as trouble:
            raise StoreUnavailable(str(trouble)) from trouble

    async def _one(self, decode: Callable[[bytes], T], sql: str, values: tuple[Any, ...]) -> T | None:
        row = await self._ask(lambda connection: connection.execute(sql, values).fetchone())
        return None if row is None else decode(row[0])

    async def _all(self, decode: Callable[[bytes], T], sql: str, values: tuple[Any, ...]) -> list[T]:
        rows = await self._ask(lambda connection: connection.execute(sql, values).fetchall())
        return [decode(row[0]) for row in rows]

    async def _write(self, sql: str, values: tuple[Any, ...], *, is_durable: bool = True) -> int:
        def work(connection: sqlite3.Connection) -> tuple[int, bool]:
            return connection.execute(sql, values).rowcount, is_durable

        return int(await self._writer.run(work))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10.0, isolation_level=None, check_same_thread=False)
        # The writer syncs the log itself, once for many commits; checkpoints sync before they overwrite anything.
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -16000", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _migrate(self) -> None:
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with _alone(self._path.with_name(self._path.name + ".lock")):
            connection = self._connect()
            try:
                at = connection.execute("PRAGMA user_version").fetchone()[0]
                steps = migrations("sqlite")
                if at > steps[-1].number:
                    last = steps[-1].number
                    raise sqlite3.DatabaseError(f"schema {at} is newer than this Penstock, which knows {last}")
                for step in (one for one in steps if one.number > at):
                    connection.executescript(f"BEGIN; {step.sql}; PRAGMA user_version = {step.number}; COMMIT;")
            finally:
                connection.close()
            self._path.chmod(0o640)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
