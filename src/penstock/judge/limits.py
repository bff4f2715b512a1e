"""Plain limits: messages, recipients and first-time recipients an hour and a day, counted exactly in sliding windows.

Each count is kept in two rings, twelve buckets of five minutes and twenty-four of an hour. A window is the sum of its
ring, so a burst cannot hide at the turn of an hour, and the time at which enough of it has fallen out of the window is
known: the refusal can say when it opens again. State is a few dozen bytes while most buckets are empty.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

UNITS = ("messages", "recipients", "new-recipients")
_RINGS = {"hour": (12, 300.0), "day": (24, 3600.0)}
WINDOWS = tuple(_RINGS)


class Limit(Struct, frozen=True):
    """At most `most` units within one sliding window."""

    unit: str
    """`messages`, `recipients` or `new-recipients`."""
    window: str
    """`hour` or `day`."""
    most: int
    of: str = "account"
    """Whose limit it is, for the words of the refusal: `account`, `tenant`, `automatic`."""


class Override(Struct, frozen=True, array_like=True):
    """A limit of one account that replaces its plan's, until a date."""

    unit: str
    window: str
    most: int
    until: float = 0.0
    """0 means without end."""


class Counts(Struct, array_like=True):
    """The rings of one account or tenant."""

    rings: dict[str, list[int]] = {}
    """`unit/window` → [number of the newest bucket, counts oldest to newest]."""
    overrides: list[Override] = []
    noticed: dict[str, int] = {}
    """`unit/window/level` → number of the bucket in which a notice was given."""


class Hit(Struct, frozen=True):
    """A limit that does not admit this message."""

    limit: Limit
    used: int
    asked: int
    opens_at: float
    """Unix time at which the message would fit; 0 where it never will, being larger than the limit itself."""


class Notice(Struct, frozen=True):
    """A limit that is nearly (90 %) or wholly (100 %) used up; given once a window."""

    limit: Limit
    used: int
    percent: int


class Counted(Struct, frozen=True):
    """What counting one message came to."""

    state: bytes
    hit: Hit | None = None
    notices: tuple[Notice, ...] = ()


_decoder = msgspec.msgpack.Decoder(Counts)
_encoder = msgspec.msgpack.Encoder()


def decode(state: bytes | None) -> Counts:
    """Counts from their bytes; what cannot be read starts anew."""
    if not state:
        return Counts()
    try:
        return _decoder.decode(state)
    except msgspec.MsgspecError:
        return Counts()


def encode(counts: Counts) -> bytes:
    """The bytes of counts."""
    return _encoder.encode(counts)


def in_force(limits: tuple[Limit, ...], counts: Counts, now: float) -> tuple[Limit, ...]:
    """The plan's limits with the account's own overrides put in their place; those of automatic mail stand."""
    if any(one.of == "automatic" for one in limits):
        return limits
    mine = {(one.unit, one.window): one.most for one in counts.overrides if not one.until or one.until > now}
    kept = [one for one in limits if (one.unit, one.window) not in mine]
    return (*kept, *(Limit(unit, window, most) for (unit, window), most in mine.items() if most > 0))


def count(state: bytes | None, limits: tuple[Limit, ...], amounts: Mapping[str, int], now: float) -> Counted:
    """Count a message if every limit admits it; otherwise count nothing and say which limit and until when."""
    counts = decode(state)
    force = in_force(limits, counts, now)
    for limit in force:
        asked = amounts.get(limit.unit, 0)
        ring = _turned(counts, limit, now)
        used = sum(ring[1:])
        if asked and used + asked > limit.most:
            hit = Hit(limit, used, asked, _opens_at(ring, limit, asked))
            given = _notices(counts, limit, limit.most, ring[0])
            return Counted(encode(counts), hit, given)
    notices: tuple[Notice, ...] = ()
    for limit in force:
        ring = _turned(counts, limit, now)
        ring[-1] += amounts.get(limit.unit, 0)
        notices += _notices(counts, limit, sum(ring[1:]), ring[0])
    return Counted(encode(counts), None, notices)


def uncount(state: bytes | None, limits: tuple[Limit, ...], amounts: Mapping[str, int], now: float) -> bytes:
    """Take back what `count` counted a moment ago, because another limit refused the message."""
    counts = decode(state)
    for limit in in_force(limits, counts, now):
        ring = _turned(counts, limit, now)
        ring[-1] = max(0, ring[-1] - amounts.get(limit.unit, 0))
    return encode(counts)


def used(state: bytes | None, limits: tuple[Limit, ...], now: float) -> tuple[tuple[Limit, int], ...]:
    """Each limit in force with what is used of it."""
    counts = decode(state)
    return tuple((limit, sum(_turned(counts, limit, now)[1:])) for limit in in_force(limits, counts, now))


def _turned(counts: Counts, limit: Limit, now: float) -> list[int]:
    """The ring of a limit, with buckets that fell out of the window emptied."""
    size, width = _RINGS[limit.window]
    number = int(now // width)
    key = _key(limit)
    ring = counts.rings.get(key)
    if ring is None or len(ring) != size + 1 or number - ring[0] >= size:
        ring = [number] + [0] * size
    elif number > ring[0]:
        steps = number - ring[0]
        ring = [number, *ring[1 + steps :], *([0] * steps)]
    counts.rings[key] = ring
    return ring


def _key(limit: Limit) -> str:
    return f"{limit.unit}/{limit.window}" + ("/automatic" if limit.of == "automatic" else "")


def _opens_at(ring: list[int], limit: Limit, asked: int) -> float:
    if asked > limit.most:
        return 0.0
    size, width = _RINGS[limit.window]
    room = limit.most - sum(ring[1:])
    for index, amount in enumerate(ring[1:]):
        room += amount
        if room >= asked:
            return (ring[0] + 1 + index) * width  # when this bucket has left the window
    return (ring[0] + size) * width


def _notices(counts: Counts, limit: Limit, used: int, number: int) -> tuple[Notice, ...]:
    size, _ = _RINGS[limit.window]
    for percent in (100, 90):
        if used * 100 >= limit.most * percent:
            key = f"{_key(limit)}/{percent}"
            if number - counts.noticed.get(key, -size) < size:
                return ()
            counts.noticed[key] = number
            return (Notice(limit, used, percent),)
    return ()
