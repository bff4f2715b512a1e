"""Sessions of people at the console: since when, from where and last seen when, and their end."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from penstock.model import Audit
from penstock.store.ports import Records, Store, Turn, Write

_FRESH_S = 60.0
"""So old may be what is noted of when a session was seen; a page is no reason to write each time."""


class Session(Struct, frozen=True):
    """One browser that somebody is logged in with."""

    id: str
    """The digest of its secret."""
    person: str
    opened_at: float
    until: float
    client: str
    """The address that it was opened from."""
    seen_at: float


async def sessions_of(store: Store, person: str, now: float) -> list[Session]:
    """Somebody's sessions that have not ended, everybody's for an empty name, oldest first. Raises StoreUnavailable."""
    keys = [one for one in await store.keys(kind="session", person=person) if one.until > now]
    seen = await store.read([_place(one.digest) for one in keys])
    return [
        Session(
            one.digest, one.person, one.made_at, one.until, one.label,
            _moment(seen.get(_place(one.digest))) or one.made_at,
        )
        for one in keys
    ]  # fmt: skip


async def see(store: Store, id: str, now: float, until: float) -> None:
    """Note that a session is used. Raises StoreUnavailable."""
    key = _place(id)
    if now - _moment((await store.read([key])).get(key)) < _FRESH_S:
        return

    def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
        return {key: Write(msgspec.msgpack.encode(now), until - now)}

    await store.update((Turn(key, (key,), step),), Records)


async def end_session(store: Store, session: Session, audit: Audit) -> bool:
    """End one; whether it had not ended before. Raises StoreUnavailable."""
    return bool(await store.drop_keys(digest=session.id, person=session.person, kind="session", audit=audit))


def _place(id: str) -> str:
    return f"console:seen|{id}"


def _moment(kept: bytes | None) -> float:
    return msgspec.msgpack.decode(kept, type=float) if kept is not None else 0.0
