"""The circuit breaker: the machine suspends only so many accounts an hour, beyond that people are called.

When many accounts look hijacked at once, the likelier cause is a fault of ours: a broken feed, a new mailing of the
provider's own. Messages are still held on their evidence; only suspensions stop.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

WINDOW_S = 3600.0
KEEP_S = 2 * WINDOW_S
KEY = "b:suspensions"
_MOST_KEPT = 10_000


class Breaker(Struct, frozen=True):
    """How many accounts the machine may suspend within an hour."""

    share: float
    """Of all accounts that are known."""
    least: int
    """So many it may suspend however few accounts there are."""

    def most(self, accounts: int) -> int:
        """The most suspensions an hour with so many accounts."""
        return max(self.least, int(accounts * self.share))


_decoder = msgspec.msgpack.Decoder(list[float])


def suspended_lately(data: bytes | None, now: float) -> list[float]:
    """Times of the machine's suspensions within the last hour; what cannot be read is none."""
    try:
        times = _decoder.decode(data) if data else []
    except msgspec.MsgspecError:
        return []
    return [at for at in times if at > now - WINDOW_S]


def noted(data: bytes | None, now: float) -> bytes:
    """The state with one suspension more."""
    return msgspec.msgpack.encode([*suspended_lately(data, now), now][-_MOST_KEPT:])
