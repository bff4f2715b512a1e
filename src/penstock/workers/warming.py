"""What is learnt about warming while mail flows: who hosts the recipients' domains, and which IPs have rested too long.

A domain's MX says whose filters judge its mail. It is looked up here, never while a message waits, and only while an IP
is warming: the busiest domains of the last day first, each once a day.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from penstock.clients.dns import Resolver, ResolverSettings, servers_of
from penstock.config import Settings
from penstock.judge.pools import Pools
from penstock.judge.warmup import DAY_S, Seen
from penstock.protocols.dns_wire import Kind
from penstock.protocols.dnsbl import Rcode, to_ascii
from penstock.store.ports import DecisionSearch, Store

WARMING_EVERY_S = 300.0
_META = "pools:warming"
_PAGE = 1000
_MOST_ROWS = 5000
_MOST_ASKED = 200
_MOST_KEPT = 2000
_TOLD = (Rcode.NOERROR, Rcode.NXDOMAIN)


class WarmingSettings(Struct, frozen=True):
    """Whom to ask, and what the answers mean."""

    resolver: ResolverSettings
    mx: Mapping[str, str]
    """Name under which mail hosts lie → group."""
    rest_s: float
    """After so long without mail an IP begins again; 0 for never."""

    @classmethod
    def of(cls, settings: Settings) -> WarmingSettings:
        """What the settings say. Raises ValueError for the resolver."""
        section = settings.pools.warm_up
        groups = [(group, names) for group, names in section.mx.items() if group in section.caps]
        mx = {name.lower().strip("."): group for group, names in groups for name in names}
        resolver = ResolverSettings(servers_of(settings.blocklists.resolver))
        return cls(resolver, mx, section.rest_days * DAY_S)


class Warming:
    """Looks at when IPs last sent, and at the MX of recipients' domains."""

    def __init__(self, settings: WarmingSettings, pools: Pools, store: Store, now: Callable[[], float]) -> None:
        """`pools` as configured."""
        self._settings = settings
        self._pools = pools
        self._store = store
        self._now = now

    async def run_once(self) -> int:
        """One look; how many domains were asked for. Raises StoreUnavailable, OSError."""
        now, seen = self._now(), await read_seen(self._store)
        for pool in self._pools.named.values():
            for one in pool.ips:
                rows = await self._store.decisions(DecisionSearch(ip=one.ip, limit=1))
                last = rows[0].decision.at if rows else 0.0
                seen.note_use(one, last, now, self._settings.rest_s)
        await self._store.set_meta(_META, msgspec.msgpack.encode(seen))
        if not self._pools.as_seen(seen).has_warming(now):
            return 0
        asked = await self._unknown(seen, now)
        if asked:
            await self._ask(asked, seen, now)
            await self._store.set_meta(_META, msgspec.msgpack.encode(seen))
        return len(asked)

    async def _unknown(self, seen: Seen, now: float) -> list[str]:
        """The busiest domains of the last day whose group nobody knows, or was asked long ago."""
        counts, before, warm_up = Counter[str](), "", self._pools.warm_up
        for _ in range(_MOST_ROWS // _PAGE):
            rows = await self._store.decisions(DecisionSearch(since=now - DAY_S, before=before, limit=_PAGE))
            counts.update(to.rpartition("@")[2].lower().rstrip(".") for row in rows for to in row.rcpt_to)
            if len(rows) < _PAGE:
                break
            before = rows[-1].decision.id
        busiest = (name for name, _ in counts.most_common() if name and not warm_up.by_name(name))
        return [name for name in busiest if now - seen.hosted.get(name, ("", 0.0))[1] >= DAY_S][:_MOST_ASKED]

    async def _ask(self, domains: list[str], seen: Seen, now: float) -> None:
        async with Resolver(self._settings.resolver) as resolver:
            groups = await asyncio.gather(*(self._group(resolver, one) for one in domains))
        found = {name: (group, now) for name, group in zip(domains, groups, strict=True) if group is not None}
        kept = sorted((seen.hosted | found).items(), key=lambda row: -row[1][1])
        seen.hosted = dict(kept[:_MOST_KEPT])

    async def _group(self, resolver: Resolver, domain: str) -> str | None:
        """The group of a domain's MX, empty where it is in none; None where nobody could tell."""
        try:
            reply = await resolver.ask(to_ascii(domain), Kind.MX)
        except ValueError:
            return ""  # DNS cannot carry the name
        if reply.rcode not in _TOLD:
            return None
        for host in reply.values:
            for name, group in self._settings.mx.items():
                if host == name or host.endswith(f".{name}"):
                    return group
        return ""


async def read_seen(store: Store) -> Seen:
    """What was learnt so far. Raises StoreUnavailable."""
    kept = await store.meta(_META)
    return msgspec.msgpack.decode(kept, type=Seen) if kept else Seen()
