"""A new IP's share of mail: so many recipients a day for each group of receivers, more with every day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from penstock.model import SendingIp

DAY_S = 86400.0
OTHER = "other"
KEEP_S = 2 * DAY_S


class WarmUp(Struct, frozen=True):
    """The schedule."""

    caps: Mapping[str, tuple[int, ...]] = {}
    """Group of receivers → recipients on the first day, the second …; after the last day the group is open."""
    receivers: Mapping[str, str] = {}
    """Domain, or `name.*` for a name under any suffix → group."""

    def group_of(self, recipient: str) -> str:
        """The group that a recipient's domain belongs to."""
        domain = recipient.rpartition("@")[2].lower().rstrip(".")
        return self.receivers.get(domain) or self.receivers.get(f"{domain.partition('.')[0]}.*") or OTHER

    def is_warm(self, ip: SendingIp, now: float) -> bool:
        """Whether an IP takes whatever comes."""
        return not ip.warming_since or _day(ip, now) >= max(map(len, self.caps.values()), default=0)

    def cap(self, ip: SendingIp, group: str, now: float) -> int | None:
        """Recipients of a group that an IP takes on this day; None for any number."""
        caps, day = self.caps.get(group, ()), _day(ip, now)
        return caps[day] if day < len(caps) else None


class Used(Struct, array_like=True):
    """What an IP took on one day, by group."""

    day: int = -1
    counts: dict[str, int] = {}


_decode = msgspec.msgpack.Decoder(Used).decode
_encode = msgspec.msgpack.Encoder().encode


def count(
    data: bytes | None, warm_up: WarmUp, ip: SendingIp, recipients: Sequence[str], now: float
) -> tuple[bytes | None, bool]:
    """Count one message where every group of its recipients has room for it; (state to keep, whether it has)."""
    used = used_on(data, ip, now)
    more = Counter(map(warm_up.group_of, recipients))
    for group, number in more.items():
        cap = warm_up.cap(ip, group, now)
        if cap is not None and used.counts.get(group, 0) + number > cap:
            return None, False
    for group, number in more.items():
        used.counts[group] = used.counts.get(group, 0) + number
    return _encode(used), True


def used_on(data: bytes | None, ip: SendingIp, now: float) -> Used:
    """What an IP has taken today; nothing where what is kept is of another day."""
    used = _decode(data) if data else Used()
    day = _day(ip, now)
    return used if used.day == day else Used(day, {})


def _day(ip: SendingIp, now: float) -> int:
    """Days since the warm-up began; a day that is yet to come counts as the first."""
    return max(0, int((now - ip.warming_since) // DAY_S))
