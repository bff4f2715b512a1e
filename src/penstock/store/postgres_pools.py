"""States of sending IPs, pins and cases in PostgreSQL."""

from __future__ import annotations

import msgspec

from penstock.sending import Case, IpState, Pin
from penstock.store.ports import PoolRecords, PoolState
from penstock.store.postgres import Connection, fit

_pack = msgspec.msgpack.Encoder().encode
_ip = msgspec.msgpack.Decoder(IpState).decode
_pin = msgspec.msgpack.Decoder(Pin).decode
case = msgspec.msgpack.Decoder(Case).decode
_KEEP = "INSERT INTO {} VALUES (%s, %b) ON CONFLICT ({}) DO UPDATE SET packed = excluded.packed"
_IP, _PIN = _KEEP.format("ip_states", "ip"), _KEEP.format("pins", "account")
_CASE = (
    "INSERT INTO cases VALUES (%s, %s, %b) "
    "ON CONFLICT (id) DO UPDATE SET closed_at = excluded.closed_at, packed = excluded.packed"
)


async def state(connection: Connection) -> PoolState:
    """States of IPs by IP, and pins by account."""
    async with connection.transaction():
        ips = await (await connection.execute("SELECT packed FROM ip_states ORDER BY ip", binary=True)).fetchall()
        pins = await (await connection.execute("SELECT packed FROM pins ORDER BY account", binary=True)).fetchall()
    return PoolState(tuple(_ip(row[0]) for row in ips), tuple(_pin(row[0]) for row in pins))


async def record(connection: Connection, *, records: PoolRecords) -> None:
    """Keep changes, in one transaction."""
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(_IP, [(one.ip, _pack(one)) for one in records.ips])
        await cursor.executemany(_PIN, [(fit(one.account), _pack(one)) for one in records.pins])
        await cursor.executemany("DELETE FROM pins WHERE account = %s", [(fit(one),) for one in records.unpinned])
        await cursor.executemany(_CASE, [(one.id, float(one.closed_at), _pack(one)) for one in records.cases])
        audit = [(float(one.at), fit(one.target), _pack(one)) for one in records.audit]
        await cursor.executemany("INSERT INTO audit (at, target, packed) VALUES (%s, %s, %b)", audit)
