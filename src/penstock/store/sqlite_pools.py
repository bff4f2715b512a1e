"""States of sending IPs, pins and cases in SQLite."""

from __future__ import annotations

import sqlite3

import msgspec

from penstock.sending import Case, IpState, Pin
from penstock.store.ports import PoolRecords, PoolState

_encode = msgspec.msgpack.Encoder().encode
_ip = msgspec.msgpack.Decoder(IpState).decode
_pin = msgspec.msgpack.Decoder(Pin).decode
case = msgspec.msgpack.Decoder(Case).decode


def state(connection: sqlite3.Connection) -> PoolState:
    """States of IPs by IP, and pins by account."""
    ips = connection.execute("SELECT row FROM ip_states ORDER BY ip").fetchall()
    pins = connection.execute("SELECT row FROM pins ORDER BY account").fetchall()
    return PoolState(tuple(_ip(row[0]) for row in ips), tuple(_pin(row[0]) for row in pins))


def record(connection: sqlite3.Connection, records: PoolRecords) -> None:
    """Keep changes, within the caller's transaction."""
    rows = [(one.ip, _encode(one)) for one in records.ips]
    connection.executemany("INSERT OR REPLACE INTO ip_states VALUES (?, ?)", rows)
    rows = [(one.account, _encode(one)) for one in records.pins]
    connection.executemany("INSERT OR REPLACE INTO pins VALUES (?, ?)", rows)
    connection.executemany("DELETE FROM pins WHERE account = ?", [(one,) for one in records.unpinned])
    cases = [(one.id, one.closed_at, _encode(one)) for one in records.cases]
    connection.executemany("INSERT OR REPLACE INTO cases VALUES (?, ?, ?)", cases)
    audit = [(one.at, one.target, _encode(one)) for one in records.audit]
    connection.executemany("INSERT INTO audit (at, target, row) VALUES (?, ?, ?)", audit)
