"""The one task of a process that writes records to PostgreSQL: what waits goes together into one transaction.

Rows that somebody waits for go at once, with whatever else is there; rows of plain accepts wait a moment for company.
Where PostgreSQL is away those rows stay here and are tried again, and no others are taken in until they are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from penstock.model import Delivered
from penstock.store.ports import Records, StoreUnavailable
from penstock.store.postgres import BOUND_S, Connection, Postgres, Rejected, fit

_GATHER_S = 0.05
"""Rows of plain accepts wait this long for others; the port promises 100 ms."""
_RETRY_S = 0.2
_MOST_AT_ONCE = 1000
_MOST_WAITING = 50_000
_BYTES_PER_S = 10e6
"""Large held messages get more time than two seconds."""
_log = logging.getLogger(__name__)
_pack = msgspec.msgpack.Encoder().encode
Row = tuple[Any, ...]


def _insert(table: str, columns: str, key: str = "", where: str = "") -> bytes:
    """INSERT of any number of rows, column by column; a key that is there already is replaced, or kept (`-key`)."""
    typed = [one.split(":") for one in columns.split()]
    names = ", ".join(name for name, _ in typed)
    arrays = ", ".join(f"%b::{kind}[]" for _, kind in typed)
    sql = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608
    if key.startswith("-"):
        sql += f" ON CONFLICT ({key[1:]}) DO NOTHING"
    elif key:
        news = ", ".join(f"{name} = excluded.{name}" for name, _ in typed if name != key)
        sql += f" ON CONFLICT ({key}) DO UPDATE SET {news}{where}"
    return sql.encode()


_DECISIONS = _insert(
    "decisions",
    "id:text at:float8 account:text tenant:text action:text wanted:text reason:text mail_from:text queue_id:text "
    "message_id:text packed:bytea",
    "id",
)
_RECIPIENTS = _insert("recipients", "rcpt:text id:text", "-rcpt, id")
_SENT = _insert("sent", "ip:text id:text", "-ip, id")
_QUEUED = (
    b"UPDATE decisions SET queue_id = one.queue_id FROM unnest(%b::text[], %b::text[]) AS one (id, queue_id) "
    b"WHERE decisions.id = one.id AND decisions.queue_id = ''"
)
_DELIVERIES = _insert("deliveries", "id:text packed:bytea", "id")
# A plain accept that was judged earlier but is written later, by another node, does not undo what was done meanwhile.
_ACCOUNTS = _insert(
    "accounts",
    "account:text tenant:text standing:text evidence:float8 seen_at:float8 packed:bytea",
    "account",
    " WHERE accounts.seen_at <= excluded.seen_at OR excluded.account = ANY(%b::text[])",
)
_HELD = _insert(
    "held", "id:text account:text state:text held_at:float8 changed_at:float8 packed:bytea raw:bytea", "id"
)  # fmt: skip
_AUDIT = _insert("audit", "at:float8 target:text packed:bytea")
_REMEMBERED = _insert("remembered", "id:text at:float8 packed:bytea", "id")
_EVENTS = _insert("events", "account:text at:float8 key:text packed:bytea", "-account, at, key")
_OUTBOX = _insert("outbox", "key:text at:float8 topic:text packed:bytea", "-key")


class _Rows(Struct, eq=False):
    """What one call leaves, as columns; encoded at once, so that what cannot be is its caller's trouble alone."""

    decisions: list[Row] = []
    recipients: list[Row] = []
    sent: list[Row] = []
    deliveries: list[Row] = []
    queue_ids: list[Row] = []
    accounts: list[Row] = []
    held: list[Row] = []
    audit: list[Row] = []
    outbox: list[Row] = []
    remembered: list[Row] = []
    events: list[Row] = []
    acts: bool = False
    told: asyncio.Future[None] | None = None
    """Who waits for it; None for a plain accept."""


def _rows(records: Records) -> _Rows:
    rows = _Rows(acts=records.must_be_durable)
    for row in records.decisions:
        one = row.decision
        columns = (one.id, float(one.at), str(one.account), one.account.tenant, one.action.value, one.wanted.value)
        rows.decisions.append((*columns, one.reason, row.mail_from, row.queue_id, row.message_id, _pack(row)))
        rows.recipients += [(rcpt, one.id) for rcpt in row.rcpt_to]
        rows.sent += [(one.ip, one.id)] if one.ip else []
    for account in records.accounts:
        names = (account.account, account.tenant, account.standing.value)
        rows.accounts.append((*names, float(account.evidence), float(account.seen_at), _pack(account)))
    for message in records.held:
        held = message.held
        times = (float(held.held_at), float(held.changed_at))
        rows.held.append((held.id, held.account, held.state, *times, _pack(held), message.raw))
    rows.remembered = [(one.decision_id, float(one.at), _pack(one)) for one in records.remembered]
    rows.events = [(one.account, float(one.at), one.key, _pack(one)) for one in records.events]
    rows.audit = [(float(one.at), one.target, _pack(one)) for one in records.audit]
    rows.outbox = [(one.key, float(one.at), one.topic, _pack(one)) for one in records.outbox]
    return rows


class Writer:
    """Takes records in, and writes them in the order in which they came."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._waiting: list[_Rows] = []
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._is_busy = False
        self._is_closing = False
        self._trouble: StoreUnavailable | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="penstock-records")

    async def close(self) -> None:
        """Write out what waits. Raises StoreUnavailable where that cannot be done."""
        task, self._task = self._task, None
        if task is None:
            return
        self._is_closing = True
        self._something.set()
        self._urgent.set()
        await task
        if self._waiting:
            raise StoreUnavailable(f"{len(self._waiting)} records of accepted mail are lost: {self._trouble}")

    def check(self) -> None:
        """Raise StoreUnavailable where records would not be written soon."""
        if self._task is None:
            raise StoreUnavailable("the store is closed")
        if (self._waiting or self._is_busy) and self._trouble is not None:
            raise StoreUnavailable(str(self._trouble))
        if len(self._waiting) >= _MOST_WAITING:
            raise StoreUnavailable(f"PostgreSQL is too slow: {len(self._waiting)} records wait")

    async def keep(self, records: Records) -> None:
        """Take records in; returns at once for a plain accept, else when they are durable. Raises StoreUnavailable."""
        rows = _rows(records)
        if rows.held:
            # A large message goes by itself, so that nobody waits behind it.
            bound_s = BOUND_S + sum(len(one[-1]) for one in rows.held) / _BYTES_PER_S
            await self._postgres.run(partial(_write, [rows]), bound_s=bound_s)
        elif rows.acts:
            await self._written(rows)
        else:
            self._add(rows)

    def delivered(self, delivered: Delivered) -> None:
        """Take in what the next hop answered."""
        queue_ids = [(delivered.decision_id, delivered.queue_id)] if delivered.queue_id else []
        self._add(_Rows(deliveries=[(delivered.decision_id, _pack(delivered))], queue_ids=queue_ids))

    async def settle(self) -> None:
        """Wait until all that was taken in is written, so that a reader sees it. Raises StoreUnavailable."""
        if self._waiting or self._is_busy:
            await self._written(_Rows())

    def _add(self, rows: _Rows) -> None:
        self._waiting.append(rows)
        self._something.set()

    async def _written(self, rows: _Rows) -> None:
        self.check()
        rows.told = asyncio.get_running_loop().create_future()
        self._add(rows)
        self._urgent.set()
        try:
            async with asyncio.timeout(BOUND_S):
                await rows.told
        except TimeoutError:
            # Known from now on, though the batch itself, begun a moment later, still waits.
            self._trouble = StoreUnavailable(f"PostgreSQL: no answer in {BOUND_S:g} s")
            raise self._trouble from None

    async def _run(self) -> None:
        while self._waiting or not self._is_closing:
            await self._something.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_S):
                    await self._urgent.wait()
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            # Who no longer waits has been told that it was not written.
            batch = [one for one in batch if one.told is None or not one.told.done()]
            if not self._waiting and not self._is_closing:
                self._something.clear()
                self._urgent.clear()
            self._is_busy = True
            left = await self._commit(batch)
            self._is_busy = False
            if left:
                self._waiting[:0] = left
                self._something.set()
                if self._is_closing:
                    return
                await asyncio.sleep(_RETRY_S)

    async def _commit(self, batch: list[_Rows]) -> list[_Rows]:
        """Write a batch and tell who waits for it; what has to be tried again."""
        try:
            if batch:
                await self._postgres.run(partial(_write, batch))
        except Rejected as trouble:
            if len(batch) > 1:
                return [left for one in batch for left in await self._commit([one])]
            _log.error("a record cannot be kept: %s", trouble)
            _tell(batch, trouble)
        except StoreUnavailable as trouble:
            self._trouble = trouble
            _tell(batch, trouble)
            return [one for one in batch if one.told is None]
        except Exception as trouble:  # the task must outlive whatever one batch brings
            _log.exception("records cannot be written")
            _tell(batch, StoreUnavailable(repr(trouble)))
        else:
            self._trouble = None
            _tell(batch, None)
        return []


def _tell(batch: Iterable[_Rows], trouble: StoreUnavailable | None) -> None:
    for rows in batch:
        if rows.told is None or rows.told.done():
            continue
        if trouble is None:
            rows.told.set_result(None)
        else:
            rows.told.set_exception(trouble)


async def _write(batch: list[_Rows], connection: Connection) -> None:
    """One transaction, in one exchange with the server."""
    decisions = {row[0]: row for rows in batch for row in rows.decisions}
    recipients = dict.fromkeys(row for rows in batch for row in rows.recipients)
    deliveries = {row[0]: row for rows in batch for row in rows.deliveries}
    accounts = {row[0]: row for rows in batch for row in rows.accounts}
    acts = dict.fromkeys(fit(row[0]) for rows in batch if rows.acts for row in rows.accounts)
    outbox: dict[str, Row] = {}
    for rows in batch:
        for row in rows.outbox:
            outbox.setdefault(row[0], row)
    # Rows that nodes have in common are sorted: who locks them in one order never waits in a circle.
    tables: tuple[tuple[bytes, Collection[Row]], ...] = (
        (_DECISIONS, decisions.values()),
        (_RECIPIENTS, recipients),
        (_SENT, dict.fromkeys(row for rows in batch for row in rows.sent)),
        (_DELIVERIES, deliveries.values()),
        (_QUEUED, [row for rows in batch for row in rows.queue_ids]),
        (_ACCOUNTS, sorted(accounts.values())),
        (_HELD, [row for rows in batch for row in rows.held]),
        (_REMEMBERED, [row for rows in batch for row in rows.remembered]),
        (_EVENTS, sorted({row[:3]: row for rows in batch for row in rows.events}.values())),
        (_AUDIT, [row for rows in batch for row in rows.audit]),
        (_OUTBOX, sorted(outbox.values())),
    )
    statements = [(sql, found) for sql, found in tables if found]
    if not statements:
        return
    async with connection.pipeline(), connection.transaction(), connection.cursor() as cursor:
        for sql, found in statements:
            columns: list[list[Any]] = [[fit(value) for value in column] for column in zip(*found, strict=True)]
            if sql is _ACCOUNTS:
                columns.append(list(acts))
            await cursor.execute(sql, columns)
