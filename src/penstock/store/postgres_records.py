"""Records in PostgreSQL: what people search and workers carry out, over all nodes.

A reader sees all that its own process has handed in before, and what other nodes have written; of their plain accepts,
within 100 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from penstock.model import AccountRow, Audit, DecisionRow, Delivered, Event, Held, OutboxItem
from penstock.sending import Case, Listing, ListingChange
from penstock.store import postgres_listings, postgres_pools
from penstock.store.ports import AccountSearch, DecisionSearch, PoolRecords, PoolState, Records
from penstock.store.postgres import Connection, Postgres, fit
from penstock.store.postgres_learnt import PostgresLearnt
from penstock.store.postgres_people import PostgresPeople
from penstock.store.postgres_writer import Writer
from penstock.store.search import accounts_sql, decisions_sql, events_sql, held_conditions

T = TypeVar("T")
_pack = msgspec.msgpack.Encoder().encode
_decision = msgspec.msgpack.Decoder(DecisionRow).decode
_delivered = msgspec.msgpack.Decoder(Delivered).decode
_event = msgspec.msgpack.Decoder(Event).decode
_account = msgspec.msgpack.Decoder(AccountRow).decode
_held = msgspec.msgpack.Decoder(Held).decode
_audit = msgspec.msgpack.Decoder(Audit).decode
_outbox = msgspec.msgpack.Decoder(OutboxItem).decode
_AT_ONCE = 1000
_COUNTED = 100_000
"""Tables are counted so far; beyond, PostgreSQL's own estimate is near enough and costs nothing."""


class PostgresRecords(PostgresLearnt, PostgresPeople):
    """The half of the store's contract that is about records."""

    def __init__(self, conninfo: str) -> None:
        self._postgres = Postgres(conninfo)
        self._writer = Writer(self._postgres)

    async def _open_records(self) -> None:
        await self._postgres.open()
        self._writer.start()

    async def _close_records(self) -> None:
        try:
            await self._writer.close()
        finally:
            await self._postgres.close()

    # Decisions.

    async def delivered(self, delivered: Delivered) -> None:
        """Keep what the next hop answered beside its decision; durable within 100 ms."""
        self._writer.check()
        self._writer.delivered(delivered)

    async def decision(self, id: str) -> DecisionRow | None:
        """One decision by id."""
        return await self._one(_decision, "SELECT packed FROM decisions WHERE id = %s", id)

    async def decisions(self, search: DecisionSearch) -> list[DecisionRow]:
        """Decisions, newest first, one page."""
        sql, values = decisions_sql(search, "decisions.packed", "%s", "JOIN")
        return await self._all(_decision, sql, *values)

    async def delivery(self, decision_id: str) -> Delivered | None:
        """What the next hop answered for a decision."""
        return await self._one(_delivered, "SELECT packed FROM deliveries WHERE id = %s", decision_id)

    async def events(self, account: str, *, limit: int = 50, before: tuple[float, str] | None = None) -> list[Event]:
        """What came back about an account, newest first, one page."""
        sql, values = events_sql(account, before, "packed", "%s")
        return await self._all(_event, f"{sql} LIMIT %s", *values, limit)

    # Accounts.

    async def accounts(self, search: AccountSearch) -> list[AccountRow]:
        """Accounts, one page."""
        sql, values = accounts_sql(search, "packed", "%s", "ILIKE")
        return await self._all(_account, sql, *values)

    async def account(self, account: str) -> AccountRow | None:
        """One account's row."""
        return await self._one(_account, "SELECT packed FROM accounts WHERE account = %s", account)

    # Held mail.

    async def held(
        self, *, account: str = "", tenant: str = "", state: str = "held", limit: int = 50, before: str = ""
    ) -> list[Held]:
        """Held messages, newest first, one page; empty state means all."""
        where, values = held_conditions(account, tenant, state, before, "%s")
        return await self._held_where(f"{where} ORDER BY id DESC LIMIT %s", *values, limit)

    async def held_one(self, id: str) -> Held | None:
        """One held message's facts."""
        rows = await self._held_where("id = %s", id)
        return rows[0] if rows else None

    async def held_raw(self, id: str) -> bytes | None:
        """One held message's bytes; None where it is unknown, or dropped and gone."""
        rows = await self._ask("SELECT raw FROM held WHERE id = %s", id)
        return rows[0][0] if rows else None

    async def claim_held(self, id: str, *, now: float, lease_s: float) -> bool:
        """Move `held`, or a `releasing` whose lease ran out, to `releasing`, for exactly one caller."""
        sql = (
            "UPDATE held SET state = 'releasing', changed_at = %s, lease_until = %s "
            "WHERE id = %s AND (state = 'held' OR (state = 'releasing' AND lease_until <= %s))"
        )
        return await self._do(sql, now, now + lease_s, id, now) == 1

    async def settle_held(self, id: str, state: str, *, now: float, audit: Audit) -> bool:
        """End a claim, with its audit entry; the bytes of what is not kept any longer go in the same step."""
        sql = (
            "WITH settled AS (UPDATE held SET state = %s, changed_at = %s, lease_until = 0, "
            "raw = CASE WHEN %s THEN raw END WHERE id = %s AND state = 'releasing' RETURNING id) "
            "INSERT INTO audit (at, target, packed) SELECT %s, %s, %b FROM settled"
        )
        entry = (float(audit.at), audit.target, _pack(audit))
        return await self._do(sql, state, now, state == "held", id, *entry) == 1

    async def expired_held(self, *, before: float, limit: int = 100) -> list[Held]:
        """Messages still `held` that were held before a time."""
        return await self._held_where("state = 'held' AND held_at < %s ORDER BY held_at LIMIT %s", before, limit)

    # Audit, outbox, small values.

    async def audit(self, *, target: str = "", limit: int = 50, before: float = 0.0) -> list[Audit]:
        """Audit entries, newest first."""
        conditions, values = ["true"], list[Any]()
        for condition, value in (("target = %s", target), ("at < %s", before)):
            if value:
                conditions.append(condition)
                values.append(value)
        where = " AND ".join(conditions)
        sql = f"SELECT packed FROM audit WHERE {where} ORDER BY at DESC, number DESC LIMIT %s"  # noqa: S608
        return await self._all(_audit, sql, *values, limit)

    async def outbox(self, *, topic: str, limit: int = 50) -> list[OutboxItem]:
        """Actions not yet carried out, oldest first."""
        sql = "SELECT packed FROM outbox WHERE topic = %s AND done_at IS NULL ORDER BY at, key LIMIT %s"
        return await self._all(_outbox, sql, topic, limit)

    async def outbox_done(self, key: str, *, at: float, outcome: str) -> None:
        """Record that an action was carried out (or given up) and how."""
        await self._do("UPDATE outbox SET done_at = %s, outcome = %s WHERE key = %s", at, outcome, key)

    async def listings(self, *, target: str = "", current_only: bool = True) -> list[Listing]:
        """Listings by target, list and time; with `current_only` those that are listed now."""
        return await self._postgres.run(partial(postgres_listings.find, target=target, current_only=current_only))

    async def latest_listings(self, *, current_only: bool, limit: int) -> list[Listing]:
        """Listings of all targets, the latest first."""
        sql = "SELECT packed FROM listings WHERE (NOT %s OR until = 0) ORDER BY since DESC, target, list LIMIT %s"
        return await self._all(postgres_listings.listing, sql, current_only, limit)

    async def listing_changes(self, *, after: int, limit: int = 100) -> list[ListingChange]:
        """Changes with a number above one, in order."""
        return await self._postgres.run(partial(postgres_listings.changes, after=after, limit=limit))

    async def record_listings(self, seen: Sequence[ListingChange]) -> None:
        """Keep what was seen on lists."""
        await self._postgres.run(partial(postgres_listings.record, seen=seen))

    async def pool_state(self) -> PoolState:
        """States of IPs by IP, and pins by account."""
        return await self._postgres.run(postgres_pools.state)

    async def record_pools(self, records: PoolRecords) -> None:
        """Keep changes of pools, in one transaction."""
        await self._postgres.run(partial(postgres_pools.record, records=records))

    async def cases(self, *, open_only: bool = False, limit: int = 50) -> list[Case]:
        """Cases, newest first."""
        sql = "SELECT packed FROM cases WHERE (NOT %s OR closed_at = 0) ORDER BY id DESC LIMIT %s"
        return await self._all(postgres_pools.case, sql, open_only, limit)

    async def case(self, id: str) -> Case | None:
        """One case by id."""
        return await self._one(postgres_pools.case, "SELECT packed FROM cases WHERE id = %s", id)

    async def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small named value, durably."""
        sql = "INSERT INTO meta VALUES (%s, %b) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        await self._do(sql, key, value)

    async def meta(self, key: str) -> bytes | None:
        """Read a small named value."""
        return await self._one(bytes, "SELECT value FROM meta WHERE key = %s", key)

    async def expire(self, *, now: float, decisions_before: float) -> int:
        """Delete old decisions, in steps that leave room for mail in between; hot state lapses by itself."""
        sql = (
            "WITH gone AS (DELETE FROM decisions "
            "WHERE id IN (SELECT id FROM decisions WHERE at < %s LIMIT %s) RETURNING id), "
            "rcpts AS (DELETE FROM recipients USING gone WHERE recipients.id = gone.id), "
            "answers AS (DELETE FROM deliveries USING gone WHERE deliveries.id = gone.id), "
            "ways AS (DELETE FROM sent USING gone WHERE sent.id = gone.id) SELECT count(*) FROM gone"
        )
        gone = 0
        while True:
            count = int((await self._ask(sql, decisions_before, _AT_ONCE))[0][0])
            gone += count
            if count < _AT_ONCE:
                break
            await asyncio.sleep(0.01)
        old = (
            "DELETE FROM events WHERE (account, at, key) IN "
            "(SELECT account, at, key FROM events WHERE at < %s LIMIT %s)"
        )
        while True:
            if await self._do(old, decisions_before, _AT_ONCE) < _AT_ONCE:
                break
            await asyncio.sleep(0.01)
        # Answers whose decision never came; one may be written a moment before its decision, so only old ones go.
        await self._do("DELETE FROM deliveries WHERE id < (SELECT coalesce(min(id), '') FROM decisions)")
        return gone

    async def counts(self) -> Mapping[str, int]:
        """Row counts; large tables as PostgreSQL estimates them."""
        parts = {
            "decisions": _count("decisions"),
            "accounts": _count("accounts"),
            "held": "(SELECT count(*) FROM held WHERE state = 'held')",
            "outbox": "(SELECT count(*) FROM outbox WHERE done_at IS NULL)",
            "audit": _count("audit"),
        }
        rows = await self._ask(f"SELECT {', '.join(parts.values())}")
        return dict(zip(parts, map(int, rows[0]), strict=True))

    # How it is done.

    async def _ask(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        async def question(connection: Connection) -> Sequence[tuple[Any, ...]]:
            cursor = await connection.execute(sql.encode(), [fit(one) for one in values], binary=True)
            return await cursor.fetchall()

        await self._writer.settle()
        return await self._postgres.run(question)

    async def _do(self, sql: str, *values: Any) -> int:
        async def work(connection: Connection) -> int:
            return (await connection.execute(sql.encode(), [fit(one) for one in values])).rowcount

        await self._writer.settle()
        return await self._postgres.run(work)

    async def _one(self, decode: Callable[[bytes], T], sql: str, *values: Any) -> T | None:
        rows = await self._ask(sql, *values)
        return decode(rows[0][0]) if rows else None

    async def _all(self, decode: Callable[[bytes], T], sql: str, *values: Any) -> list[T]:
        return [decode(row[0]) for row in await self._ask(sql, *values)]

    async def _held_where(self, where: str, *values: Any) -> list[Held]:
        sql = f"SELECT packed, state, changed_at FROM held WHERE {where}"  # noqa: S608
        return [replace(_held(row[0]), state=row[1], changed_at=row[2]) for row in await self._ask(sql, *values)]

    async def _keep(self, records: Records) -> None:
        await self._writer.keep(records)


def _count(table: str) -> str:
    """Exact for a table of ordinary size, else the planner's estimate."""
    return (
        f"(SELECT CASE WHEN n <= {_COUNTED} THEN n ELSE greatest(n, (SELECT reltuples FROM pg_class "  # noqa: S608
        f"WHERE oid = '{table}'::regclass)::bigint) END "
        f"FROM (SELECT count(*) AS n FROM (SELECT 1 FROM {table} LIMIT {_COUNTED + 1}) AS first) AS counted)"
    )
