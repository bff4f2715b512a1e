"""What is going on: flow, standings, cases, IPs and trouble, in one look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from penstock.config import Settings
from penstock.console.entrance import Viewer
from penstock.console.sight import Sight
from penstock.console.site import Site
from penstock.model import Action, Mode
from penstock.people import Grain, Tally, TallySearch
from penstock.sending import Case
from penstock.store.ports import Store

ACTIONS = tuple(one.value for one in Action)
_DAY_S = 86400.0
_HOUR_S = 3600.0
_LATE_S = 600.0
"""A notice that waits longer than this is trouble."""


class Bar(Struct, frozen=True):
    """What happened, or was wanted, in one stretch of time."""

    start: float
    counts: dict[str, int]

    @property
    def messages(self) -> int:
        """All together."""
        return sum(self.counts.values())


class Flow(Struct, frozen=True):
    """The console's first page, and what programs ask for."""

    at: float
    mode: str
    span_s: float
    """How far the bars reach back."""
    bars: tuple[Bar, ...]
    totals: dict[str, int]
    standings: dict[str, int]
    held: int
    """Held messages, counted to two hundred."""
    cases: tuple[Case, ...]
    ips: dict[str, int]
    """Sending IPs by state."""
    troubles: tuple[tuple[str, float], ...]
    """What is wrong with Penstock itself: a sentence and a number or time that belongs to it."""


async def look(site: Site, sight: Sight, viewer: Viewer) -> Flow:
    """The flow of the last day, or of thirty days where a viewer sees one tenant alone. Raises StoreUnavailable."""
    store, settings, now = site.store, site.settings, site.now()
    span, step = (30 * _DAY_S, _DAY_S) if viewer.tenant else (_DAY_S, _HOUR_S)
    grain = Grain.TENANT_DAYS if viewer.tenant else Grain.MINUTES
    first = (now - span) // step * step + step
    tallies = await sight.tallies(TallySearch(grain, since=first, limit=20_000))
    bars = bars_of(tallies, first, now, step, is_wanted=settings.judge.mode is Mode.OBSERVE)
    is_whole = not viewer.tenant
    return Flow(
        at=now,
        mode=settings.judge.mode.value,
        span_s=span,
        bars=bars,
        totals={action: sum(bar.counts[action] for bar in bars) for action in ACTIONS},
        standings=dict(await site.standings(sight, viewer.tenant)),
        held=len(await sight.held(limit=200)),
        cases=tuple(await store.cases(open_only=True, limit=10)) if is_whole else (),
        ips=await _ips(store, settings) if is_whole else {},
        troubles=tuple([one async for one in _troubles(store, tallies, now)]) if is_whole else (),
    )


def bars_of(tallies: Sequence[Tally], first: float, until: float, step: float, *, is_wanted: bool) -> tuple[Bar, ...]:
    """Counts by stretch of time, also where there was nothing."""
    found = {first + n * step: dict.fromkeys(ACTIONS, 0) for n in range(int((until - first) // step) + 1)}
    for one in tallies:
        start = one.start // step * step
        if start in found:
            found[start][one.wanted if is_wanted else one.action] += one.messages
    return tuple(Bar(start, counts) for start, counts in found.items())


async def _ips(store: Store, settings: Settings) -> dict[str, int]:
    states = {one.ip: one.state for one in (await store.pool_state()).ips}
    ips = [ip.ip for pool in settings.pools.named.values() for ip in pool.ips]
    return counted(states.get(ip, "active") for ip in ips)


def counted(words: Iterable[str]) -> dict[str, int]:
    """How often each word is there."""
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


async def _troubles(store: Store, tallies: Sequence[Tally], now: float):  # type: ignore[no-untyped-def]
    unjudged = sum(one.messages for one in tallies if one.reason == "PS-FAILURE")
    if unjudged:
        yield "messages could not be judged; on_failure decided", float(unjudged)
    waiting = await store.outbox(topic="notice", limit=1)
    if waiting and now - waiting[0].at > _LATE_S:
        yield "minutes old is the first notice that was not sent", (now - waiting[0].at) // 60


Counts = Mapping[str, int]
