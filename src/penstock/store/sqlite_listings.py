"""Listings and their changes in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from penstock.sending import Listing, ListingChange
from penstock.store.listings import settle

_encode = msgspec.msgpack.Encoder().encode
listing = msgspec.msgpack.Decoder(Listing).decode
_change = msgspec.msgpack.Decoder(ListingChange).decode


def find(connection: sqlite3.Connection, target: str, *, current_only: bool) -> list[Listing]:
    """Listings, by target, list and time."""
    sql = "SELECT row FROM listings WHERE (? = '' OR target = ?) AND (NOT ? OR until = 0) ORDER BY target, list, since"
    return [listing(row[0]) for row in connection.execute(sql, (target, target, current_only))]


def changes(connection: sqlite3.Connection, *, after: int, limit: int) -> list[ListingChange]:
    """Changes with a number above one, in order."""
    sql = "SELECT number, row FROM listing_changes WHERE number > ? ORDER BY number LIMIT ?"
    return [replace(_change(row), number=number) for number, row in connection.execute(sql, (after, limit))]


def record(connection: sqlite3.Connection, seen: Sequence[ListingChange]) -> None:
    """Keep what was seen, within the caller's transaction."""
    for one in seen:
        key = (one.listing.target, one.listing.list)
        sql = "SELECT row FROM listings WHERE target = ? AND list = ? AND until = 0"
        found = connection.execute(sql, key).fetchone()
        kept, change = settle(listing(found[0]) if found else None, one)
        if kept is not None:
            values = (*key, kept.since, kept.until, _encode(kept))
            connection.execute("INSERT OR REPLACE INTO listings VALUES (?, ?, ?, ?, ?)", values)
        if change is not None:
            connection.execute("INSERT INTO listing_changes (at, row) VALUES (?, ?)", (change.at, _encode(change)))
