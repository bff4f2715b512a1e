"""What is shut of one account, and what has to be done next: a small record, its bytes, its steps.

A change of standing is only the occasion: what is done follows from the standing as it is and the record as it is. So
it does not matter how often, or how late, the occasion is told, and a crash between any two steps is made good by the
next look. A change gets the next number; the record is kept first, then the steps are queued under keys made of that
number, and then it is noted that they were.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from penstock.judge.ladder import fit
from penstock.model import Rung, Standing, Step, Thing

KEEP_S = 400 * 86400.0
_STRIKE_FADES_S = 180 * 86400.0
"""After so long without a suspension the count begins anew."""


class Shut(Struct, array_like=True):
    """What is remembered of an account that was shut."""

    number: int = 0
    """Of the last change."""
    is_shut: bool = False
    is_queued: bool = True
    """Whether the last change's steps are in the outbox."""
    at: float = 0.0
    """When the last change was made."""
    things: list[Thing] = []
    """What the last change shut, or opened."""
    reason: str = ""
    strikes: int = 0
    shut_at: float = 0.0
    """When it was last shut."""
    met: dict[str, float] = {}
    """Release conditions that somebody confirmed, with the time."""
    releases: int = 0
    """How often it was released by itself."""
    released: int = 0
    """The number of the change that the last of these followed."""
    script: tuple[str, str, str] = ("", "", "")
    """Host, path and hash of the script's file when it was shut; empty where it cannot be read."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Shut)


def read_shut(data: bytes | None) -> Shut:
    """The record from its bytes; what is unknown or cannot be read starts anew."""
    try:
        return _decoder.decode(data) if data else Shut()
    except msgspec.MsgspecError:
        return Shut()


def encode(shut: Shut) -> bytes:
    """The record's bytes."""
    return _encoder.encode(shut)


def next_verb(shut: Shut, standing: Standing) -> str:
    """What has to be done for a standing: `shut`, `open`, or nothing (empty)."""
    if standing is Standing.SUSPENDED:
        return "" if shut.is_shut else "shut"
    return "open" if shut.is_shut else ""


def strikes_at(shut: Shut, now: float) -> int:
    """Which suspension one at this time is: 1 for the first, or after a long quiet."""
    return shut.strikes + 1 if shut.shut_at and now - shut.shut_at < _STRIKE_FADES_S else 1


def shut_now(shut: Shut, things: Sequence[Thing], now: float, reason: str) -> Shut:
    """The record with these things to be shut."""
    strikes = strikes_at(shut, now)
    return replace(
        shut, number=_next_number(shut, now), is_shut=True, is_queued=False, at=_later(shut, now), things=list(things),
        reason=reason, strikes=strikes, shut_at=now, releases=shut.releases if strikes > 1 else 0,
    )  # fmt: skip


def open_now(shut: Shut, now: float, reason: str) -> Shut:
    """The record with all that was shut to be opened."""
    number, at = _next_number(shut, now), _later(shut, now)
    return replace(shut, number=number, is_shut=False, is_queued=False, at=at, reason=reason)


def confirmed(shut: Shut, condition: str, now: float) -> Shut:
    """The record with a release condition that somebody says is met."""
    return replace(shut, met={**shut.met, condition: now})


def released(shut: Shut) -> Shut:
    """The record with one more release by itself, counted once for each time it was shut."""
    if shut.released == shut.number:
        return shut
    return replace(shut, releases=shut.releases + 1, released=shut.number)


def queued(shut: Shut, number: int) -> Shut:
    """The record with the steps of its last change in the outbox; another change's are left alone."""
    if shut.number == number:
        shut.is_queued = True
    return shut


def steps_of(
    shut: Shut, account: str, drivers: Mapping[str, Collection[Rung]], kept: Collection[Thing] = ()
) -> list[tuple[str, Step]]:
    """(driver, step) of the last change. `kept` is what others need shut, so that it is not opened."""
    verb = "shut" if shut.is_shut else "open"
    found: list[tuple[str, Step]] = []
    for name, rungs in drivers.items():
        others = {fit(one, rungs) for one in kept}
        fitted = dict.fromkeys(fit(one, rungs) for one in shut.things)
        for thing in fitted:
            if thing is None or (verb == "open" and thing in others):
                continue
            key = f"{account}/{shut.number}/{name}/{thing.rung}"
            found.append((name, Step(key, shut.at, account, verb, thing, shut.reason)))
    return found


def _next_number(shut: Shut, now: float) -> int:
    """Made of the time, so that a record that was lost does not use up numbers whose steps are done."""
    return max(shut.number + 1, int(now * 1000))


def _later(shut: Shut, now: float) -> float:
    """Steps are carried out in the order of their times, whatever a clock does."""
    return max(now, shut.at + 0.001)
