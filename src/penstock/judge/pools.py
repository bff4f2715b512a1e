"""Which sending IP a message leaves through: level × kind → pool, and within the pool one IP for each account.

An account's level is its standing, with hysteresis: to a worse one it falls at once, to a better one it rises at most
once in so many hours. Within a pool the IP is found by rendezvous hashing (Thaler and Ravishankar, 1998), so that an
account's sins stay on one IP, and an IP that is taken out moves its own accounts only. Nothing that a customer writes
has a say: kinds that headers claim are believed by the caller's rules alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from penstock.judge.warmup import Seen, WarmUp
from penstock.model import Kind, Standing
from penstock.sending import IpState, Pin, SendingIp

LEVELS = ("suspect", "poor", "new", "normal", "trusted")
"""Worst first."""
_BEFORE_KIND = ("suspect", "poor", "new")
PLACE_KEEP_S = 400 * 86400.0


class Pool(Struct, frozen=True):
    """A class of sending IPs."""

    ips: tuple[SendingIp, ...] = ()
    fallback: str = ""
    """The pool that takes over where none of the IPs is usable."""


class Pools(Struct, frozen=True):
    """What is configured."""

    choices: Mapping[str, str] = {}
    """`level/kind`, `level`, `kind` or `default` → pool."""
    named: Mapping[str, Pool] = {}
    move_after_s: float = 86400.0
    """How long an account stays before it rises to a better level."""
    warm_up: WarmUp = WarmUp()

    def has_warming(self, now: float) -> bool:
        """Whether any IP still takes a share only."""
        return any(not self.warm_up.is_warm(ip, now) for pool in self.named.values() for ip in pool.ips)

    def as_seen(self, seen: Seen) -> Pools:
        """The same, with what was learnt about warming: IPs that rested, and domains' groups by their MX."""

        def renewed(ip: SendingIp) -> SendingIp:
            return replace(ip, warming_since=seen.warming_since(ip))

        named = {name: replace(pool, ips=tuple(map(renewed, pool.ips))) for name, pool in self.named.items()}
        hosted = {domain: group for domain, (group, _) in seen.hosted.items() if group}
        return replace(self, named=named, warm_up=replace(self.warm_up, hosted=hosted))


class Live(Struct, frozen=True):
    """What changes while mail flows: IPs taken out, and people's pins."""

    drained: frozenset[str] = frozenset()
    pins: Mapping[str, Pin] = {}
    """By account."""

    @classmethod
    def of(cls, ips: Sequence[IpState], pins: Sequence[Pin]) -> Live:
        """What the store says."""
        drained = frozenset(one.ip for one in ips if one.state == "drained")
        return cls(drained, {one.account: one for one in pins})


class Route(Struct, frozen=True):
    """Where an account's message may leave."""

    pool: str = ""
    ips: tuple[SendingIp, ...] = ()
    """The pool's usable IPs in this account's order; empty where Penstock knows none."""
    overflow: tuple[str, SendingIp] | None = None
    """The first warm IP of a fallback, for a pool in which all are still warming."""
    reason: str = ""


class Place(Struct, frozen=True, array_like=True):
    """An account's level, and since when."""

    level: str
    since: float


_encode = msgspec.msgpack.Encoder().encode
_place = msgspec.msgpack.Decoder(Place).decode


def level_of(standing: Standing, score: float, suspect_at: float) -> str:
    """The level that an account's standing points to; `suspect` where it is poor and much speaks just now."""
    if standing is Standing.SUSPENDED or (standing is Standing.POOR and score >= suspect_at):
        return "suspect"
    return standing.value


def read_place(data: bytes | None) -> Place | None:
    """An account's place as it was kept."""
    return _place(data) if data else None


def settle(data: bytes | None, level: str, now: float, move_after_s: float) -> tuple[Place, bytes | None]:
    """The place after this message, and its bytes where it has changed: down at once, up not too often."""
    before = read_place(data)
    if before is not None:
        is_better = LEVELS.index(level) > LEVELS.index(before.level)
        if level == before.level or (is_better and now - before.since < move_after_s):
            return before, None
    after = Place(level, now)
    return after, _encode(after)


def choose_pool(level: str, kind: Kind, choices: Mapping[str, str]) -> str:
    """The pool for a level and a kind, or the empty string where none is configured.

    The order is `level/kind`, then suspect, poor and new levels before the kind (a poor account's newsletter is first
    of all a poor account's), then kind, then level, then `default`.
    """
    levels = {"suspect": ("suspect", "suspended", "poor")}.get(level, (level,))
    order = [f"{one}/{kind}" for one in levels]
    order += [*levels, kind.value] if level in _BEFORE_KIND or kind is Kind.NORMAL else [kind.value, *levels]
    return next((choices[key] for key in (*order, "default") if key in choices), "")


def find_route(pools: Pools, live: Live, account: str, level: str, kind: Kind, *, now: float) -> Route:
    """The pool of a message and its IPs in the account's order: a pin first, then the table, then fallbacks."""
    pin = live.pins.get(account)
    if pin is not None and pin.pool in pools.named and (not pin.until or now < pin.until):
        name, reason = pin.pool, f"pinned by {pin.who}"
    else:
        pin, name, reason = None, choose_pool(level, kind, pools.choices), f"{level}, {kind} mail"
    for at, pool in _chain(pools, name):
        usable = [one for one in pool.ips if one.ip not in live.drained]
        if not pool.ips or usable:
            wanted = pin.ip if pin is not None else ""
            ips = tuple(sorted(usable, key=lambda one: (one.ip != wanted, -_weight(account, one.ip))))
            return Route(at, ips, _overflow(pools, live, account, at, now), reason)
        reason = f"{at} has no usable IP"
    return Route(reason=reason)  # it leaves by the next hop's own way


def first_warming(route: Route, warm_up: WarmUp, now: float) -> SendingIp | None:
    """The IP that must be asked whether it has room today; None where the account's own IP is warm."""
    return route.ips[0] if route.ips and not warm_up.is_warm(route.ips[0], now) else None


def pick(route: Route, warm_up: WarmUp, now: float, *, has_room: bool) -> tuple[str, str]:
    """(pool, IP) of a message; without room the warm ones take what is beyond a warming IP's share.

    Mail waits for no warm-up: where no IP is warm at all, the account's own one goes over its cap.
    """
    if not route.ips or (has_room and not warm_up.is_warm(route.ips[0], now)):
        return route.pool, route.ips[0].ip if route.ips else ""
    warm = next((one for one in route.ips if warm_up.is_warm(one, now)), None)
    if warm is None and route.overflow is not None:
        return route.overflow[0], route.overflow[1].ip
    return route.pool, (warm or route.ips[0]).ip


def _chain(pools: Pools, name: str) -> Iterator[tuple[str, Pool]]:
    """A pool and its fallbacks; a pool of which nothing is configured has a name only."""
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        pool = pools.named.get(name, Pool())
        yield name, pool
        name = pool.fallback


def _overflow(pools: Pools, live: Live, account: str, name: str, now: float) -> tuple[str, SendingIp] | None:
    """The first warm IP down the chain; asked for nothing where the pool has one itself."""
    for at, pool in _chain(pools, name):
        warm = [one for one in pool.ips if one.ip not in live.drained and pools.warm_up.is_warm(one, now)]
        if warm:
            return None if at == name else (at, max(warm, key=lambda one: _weight(account, one.ip)))
    return None


def _weight(account: str, ip: str) -> int:
    return xxh3_64_intdigest(f"{account}\0{ip}".encode("utf-8", "surrogatepass"))
