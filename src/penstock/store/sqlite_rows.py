"""Rows of the SQLite store: many of a kind go in by one statement.

Each statement gives the interpreter away while SQLite works, and gets it back only when the other threads are done with
it; so few statements with many rows cost far less than many with one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from penstock.model import DecisionRow
from penstock.store.ports import Records

_encode = msgspec.msgpack.Encoder().encode
_AT_ONCE = (64, 16, 4, 1)
"""Rows of one statement; few sizes, so that each statement is prepared once."""

Hot = tuple[bytes | None, float]
"""A value of hot state and until when it lives; None where there is none."""


def read_hot(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Hot]:
    """Hot state by keys, also what is not there."""
    found: dict[str, Hot] = dict.fromkeys(keys, (None, 0.0))
    for at in range(0, len(keys), 500):
        some = keys[at : at + 500]
        marks = ",".join("?" * len(some))
        sql = f"SELECT key, value, until FROM state WHERE key IN ({marks})"  # noqa: S608
        found.update((key, (value, until)) for key, value, until in connection.execute(sql, some))
    return found


def write_hot(connection: sqlite3.Connection, state: Mapping[str, Hot]) -> None:
    """Keep hot state, and delete what has become None."""
    kept = [(key, value, until) for key, (value, until) in state.items() if value is not None]
    update = " ON CONFLICT (key) DO UPDATE SET value = excluded.value, until = excluded.until"
    insert(connection, "INSERT INTO state VALUES", kept, update)
    gone = [(key,) for key, (value, _) in state.items() if value is None]
    if gone:
        connection.executemany("DELETE FROM state WHERE key = ?", gone)


def write_records(connection: sqlite3.Connection, many: Sequence[Records]) -> None:
    """Keep the records of several updates, in their order; the bytes of held messages are the spool's."""
    decisions = [row for one in many for row in one.decisions]
    if decisions:
        insert(connection, "INSERT OR REPLACE INTO decisions VALUES", [_decision(row) for row in decisions])
        recipients = [(rcpt, row.decision.id) for row in decisions for rcpt in dict.fromkeys(row.rcpt_to)]
        insert(connection, "INSERT OR IGNORE INTO recipients VALUES", recipients)
        sent = [(row.decision.ip, row.decision.id) for row in decisions if row.decision.ip]
        insert(connection, "INSERT OR IGNORE INTO sent VALUES", sent)
    accounts = {row.account: row for one in many for row in one.accounts}.values()  # the last one counts
    rows: list[tuple[Any, ...]]
    rows = [(one.account, one.tenant, one.standing, one.evidence, one.seen_at, _encode(one)) for one in accounts]
    insert(connection, "INSERT OR REPLACE INTO accounts VALUES", rows)
    rows = [(m.id, m.account, m.state, m.held_at, _encode(m)) for one in many for m in (h.held for h in one.held)]
    insert(connection, "INSERT OR REPLACE INTO held (id, account, state, held_at, row) VALUES", rows)
    rows = [(entry.at, entry.target, _encode(entry)) for one in many for entry in one.audit]
    insert(connection, "INSERT INTO audit (at, target, row) VALUES", rows)
    rows = [(kept.decision_id, kept.at, _encode(kept)) for one in many for kept in one.remembered]
    insert(connection, "INSERT OR REPLACE INTO remembered VALUES", rows)
    rows = [(event.account, event.at, event.key, _encode(event)) for one in many for event in one.events]
    insert(connection, "INSERT OR REPLACE INTO events VALUES", rows)
    rows = [(item.key, item.at, item.topic, _encode(item)) for one in many for item in one.outbox]
    insert(connection, "INSERT OR IGNORE INTO outbox (key, at, topic, row) VALUES", rows)


def _decision(row: DecisionRow) -> tuple[Any, ...]:
    decision = row.decision
    return (
        decision.id,
        decision.at,
        str(decision.account),
        decision.account.tenant,
        decision.action.value,
        decision.wanted.value,
        decision.reason,
        row.mail_from,
        row.queue_id,
        row.message_id,
        _encode(row),
    )


def insert(connection: sqlite3.Connection, head: str, rows: Sequence[tuple[Any, ...]], tail: str = "") -> None:
    """Insert rows: `head` goes up to VALUES, `tail` comes after the last of them."""
    at = 0
    for size in _AT_ONCE:
        while len(rows) - at >= size:
            values = [value for row in rows[at : at + size] for value in row]
            connection.execute(_statement(head, size, len(rows[at]), tail), values)
            at += size


@lru_cache(maxsize=256)
def _statement(head: str, rows: int, columns: int, tail: str) -> str:
    row = f"({','.join('?' * columns)})"
    return f"{head} {','.join([row] * rows)}{tail}"
