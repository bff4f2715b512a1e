"""Listings and their changes in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from penstock.sending import Listing, ListingChange
from penstock.store.listings import settle
from penstock.store.postgres import Connection, fit

_pack = msgspec.msgpack.Encoder().encode
listing = msgspec.msgpack.Decoder(Listing).decode
_change = msgspec.msgpack.Decoder(ListingChange).decode
_LOCK = 0x6C697374696E6773  # "listings"


async def find(connection: Connection, *, target: str, current_only: bool) -> list[Listing]:
    """Listings, by target, list and time."""
    sql = (
        "SELECT packed FROM listings WHERE (%s = '' OR target = %s) AND (NOT %s OR until = 0) "
        "ORDER BY target, list, since"
    )
    values = (fit(target), fit(target), current_only)
    return [listing(row[0]) for row in await (await connection.execute(sql, values, binary=True)).fetchall()]


async def changes(connection: Connection, *, after: int, limit: int) -> list[ListingChange]:
    """Changes with a number above one, in order."""
    sql = "SELECT number, packed FROM listing_changes WHERE number > %s ORDER BY number LIMIT %s"
    rows = await (await connection.execute(sql, (after, limit), binary=True)).fetchall()
    return [replace(_change(row[1]), number=row[0]) for row in rows]


async def record(connection: Connection, seen: Sequence[ListingChange]) -> None:
    """Keep what was seen, in one transaction."""
    async with connection.transaction():
        # One writer at a time: numbers then become visible in their order, so that a reader's position misses nothing.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for one in seen:
            await _keep(connection, one)


async def _keep(connection: Connection, one: ListingChange) -> None:
    key = (fit(one.listing.target), fit(one.listing.list))
    sql = "SELECT packed FROM listings WHERE target = %s AND list = %s AND until = 0"
    found = await (await connection.execute(sql, key, binary=True)).fetchone()
    kept, change = settle(listing(found[0]) if found else None, one)
    if kept is not None:
        sql = (
            "INSERT INTO listings VALUES (%s, %s, %s, %s, %b) "
            "ON CONFLICT (target, list, since) DO UPDATE SET until = excluded.until, packed = excluded.packed"
        )
        await connection.execute(sql, (*key, float(kept.since), float(kept.until), _pack(kept)))
    if change is not None:
        sql = "INSERT INTO listing_changes (at, packed) VALUES (%s, %b)"
        await connection.execute(sql, (float(change.at), _pack(change)))
