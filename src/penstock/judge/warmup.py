"""A new IP's share of mail: so many recipients a day for each group of receivers, more with every day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from penstock.sending import SendingIp

DAY_S = 86400.0
OTHER = "other"
KEEP_S = 2 * DAY_S


class WarmUp(Struct, frozen=True):
    """The schedule."""

    caps: Mapping[str, tuple[int, ...]] = {}
    """Group of receivers → recipients on the first day, the second …; after the last day the group is open."""
    receivers: Mapping[str, str] = {}
    """Domain, or `name.*` for a name under any suffix → group."""
    hosted: Mapping[str, str] = {}
    """Other domains whose MX belongs to a group → group."""

    def group_of(self, recipient: str) -> str:
        """The group that a recipient's domain belongs to."""
        domain = recipient.rpartition("@")[2].lower().rstrip(".")
        return self.by_name(domain) or self.hosted.get(domain) or OTHER

    def by_name(self, domain: str) -> str:
        """The group that a domain belongs to by its own name; empty where that does not tell."""
        return self.receivers.get(domain) or self.receivers.get(f"{domain.partition('.')[0]}.*", "")

    def is_warm(self, ip: SendingIp, now: float) -> bool:
        """Whether an IP takes whatever comes."""
        return not ip.warming_since or _day(ip, now) >= max(map(len, self.caps.values()), default=0)

    def cap(self, ip: SendingIp, group: str, now: float) -> int | None:
        """Recipients of a group that an IP takes on this day; None for any number."""
        caps, day = self.caps.get(group, ()), _day(ip, now)
        return caps[day] if day < len(caps) else None


class Seen(Struct):
    """What is learnt about warming while mail flows."""

    used: dict[str, float] = {}
    """IP → when it last sent, as far as was looked."""
    anew: dict[str, float] = {}
    """IP → midnight UTC of the day on which its warm-up began again, after a long rest."""
    idle: dict[str, tuple[int, int]] = {}
    """IP → (days of its warm-up on which it sent nothing, up to and with which day they are counted)."""
    hosted: dict[str, tuple[str, float]] = {}
    """Domain → (group of its MX, or empty for none; when that was asked)."""

    def note_use(self, ip: SendingIp, last: float, now: float, rest_s: float) -> None:
        """Note when an IP last sent (0: never seen). Who rested for `rest_s` (0: nobody) is as unknown as a new one; a
        shorter pause only stops the warm-up, whose days are those on which mail was sent."""
        name, before = ip.ip, self.used.get(ip.ip, 0.0)
        newest = last if last > before else now
        if before and rest_s and newest - before >= rest_s:
            self.anew[name] = newest - newest % DAY_S
            self.idle[name] = 0, int(newest // DAY_S) - 1
        elif began := self._began(ip):
            today = int(now // DAY_S)
            days, until = self.idle.get(name, (0, today - 1))
            passed = range(max(until + 1, int(began // DAY_S)), today)
            sent = sum(day in passed for day in {before // DAY_S, last // DAY_S})
            self.idle[name] = days + len(passed) - sent, today - 1
        if max(last, before):
            self.used[name] = max(last, before)

    def _began(self, ip: SendingIp) -> float:
        return max(ip.warming_since, self.anew.get(ip.ip, 0.0))

    def warming_since(self, ip: SendingIp) -> float:
        """When the warm-up of an IP would have begun had it sent on every day since; 0 where it needs none."""
        began = self._began(ip)
        return began + self.idle.get(ip.ip, (0, 0))[0] * DAY_S if began else 0.0


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
