"""The loop: a listed IP leaves its pool by itself, a case names the accounts that caused it, a clean one comes back.

What is done depends on what the store says now, not on having seen every change, so that a look that failed or came
late is made good by the next. One process looks at a time, over all nodes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from penstock.config import Settings
from penstock.judge import cases
from penstock.judge.pools import Pools
from penstock.lists.catalogue import known_lists
from penstock.model import Audit, Event, Mode, OutboxItem
from penstock.sending import Case, IpState, Listing, SendingIp, Severity, Suspect
from penstock.store.ports import DecisionSearch, PoolRecords, Records, Store, Turn, Write
from penstock.workers.monitoring import choices_of
from penstock.workers.reply_blocks import RECEIVER

_PAGE = 500
_MOST_ROWS = 100_000
"""Decisions that a case looks at, the latest."""
_LEAST_BLAME = 0.05
"""Below, an account's evidence is left alone."""
_LEASE = "k:pools"
_BY_RECEIVERS = ("complaints", "content")
PENSTOCK = "penstock"


class PoolSettings(Struct, frozen=True):
    """When an IP leaves and returns."""

    severity: Severity
    may_drain_last: bool
    clean_checks: int
    clean_s: float
    every_s: float
    window_s: float
    """How far back a case looks for the accounts that used the IP."""
    is_observing: bool = False
    """Whether no decision names an IP, so that a case looks at all mail."""
    dislikes: Mapping[str, tuple[str, ...]] = {}
    """List → what it dislikes, by the catalogue's words."""

    @classmethod
    def of(cls, settings: Settings) -> PoolSettings:
        """What the settings say. Raises OSError and ValueError for lists that cannot be read."""
        section = settings.pools
        return cls(
            severity=section.drain_severity,
            may_drain_last=section.drain_last,
            clean_checks=section.clean_checks,
            clean_s=section.clean_hours * 3600.0,
            every_s=section.check_every_s,
            window_s=section.case_hours * 3600.0,
            is_observing=settings.judge.mode is Mode.OBSERVE,
            dislikes={one.name: tuple(one.dislikes) for one in known_lists(*choices_of(settings))},
        )


class Absorb(Protocol):
    """The pipeline's entry for what comes back."""

    async def absorb(self, event: Event) -> object:
        """Take an event in."""


class PoolKeeper:
    """Looks at listings, drains and brings back IPs, opens and closes cases."""

    def __init__(
        self,
        settings: PoolSettings,
        pools: Pools,
        store: Store,
        pipeline: Absorb,
        *,
        now: Callable[[], float],
        new_id: Callable[[float], str],
    ) -> None:
        self._settings = settings
        self._pools = pools
        self._store = store
        self._pipeline = pipeline
        self._now = now
        self._new_id = new_id

    async def run_once(self) -> int:
        """One look; how many IPs left or came back. Raises StoreUnavailable."""
        now = self._now()
        if not await self._is_my_turn(now):
            return 0
        listed = by_ip(await self._store.listings(), self._ips(), self._settings.severity)
        kept = {one.ip: one for one in (await self._store.pool_state()).ips}
        open_cases = {one.ip: one for one in await self._store.cases(open_only=True, limit=10_000)}
        count = 0
        for pool, ip in self._ips():
            state = kept.get(ip.ip) or IpState(ip.ip, pool, "active", 0.0)
            case, bad = open_cases.get(ip.ip), listed.get(ip.ip, ())
            if is_overruled(state, bad):
                bad = ()
            if bad:
                after = await self._hit(state, bad, case, kept, now)
            else:
                after = await self._clean(state, case, now)
            count += after.state != state.state
            kept[ip.ip] = after
        return count

    async def _hit(
        self, state: IpState, bad: Sequence[Listing], case: Case | None, kept: Mapping[str, IpState], now: float
    ) -> IpState:
        """A listed IP: out of its pool where another is left, and a case for it."""
        lists = tuple(one.list for one in bad)
        reason = f"on {', '.join(lists)}"
        after, audit = replace(state, clean_checks=0, clean_since=0.0), tuple[Audit, ...]()
        if state.state == "active" and self._may_go(state, kept):
            after = IpState(state.ip, state.pool, "drained", now, reason=reason)
            audit = (Audit(now, PENSTOCK, "drain-ip", state.ip, reason, f"pool {state.pool}"),)
        if after != state:
            await self._store.record_pools(PoolRecords((after,), audit=audit))
        if case is None:
            await self._open_case(after, lists, now)
        elif set(lists) - set(case.lists):
            more = tuple(dict.fromkeys((*case.lists, *lists)))
            await self._store.record_pools(PoolRecords(cases=(replace(case, lists=more),)))
        return after

    async def _clean(self, state: IpState, case: Case | None, now: float) -> IpState:
        """An IP that is clean: each look counts once in a share of the hours, and enough of them bring it back."""
        is_ours = state.state == "drained" and state.who == PENSTOCK
        if not is_ours and case is None:
            return state
        settings = self._settings
        since = state.clean_since or now
        due = 1 + int((now - since) / (settings.clean_s / settings.clean_checks)) if settings.clean_s else 10**6
        checks = min(state.clean_checks + 1, due)
        after = replace(state, clean_checks=checks, clean_since=since)
        if checks < settings.clean_checks or now - since < settings.clean_s:
            if after != state:
                await self._store.record_pools(PoolRecords((after,)))
            return after
        reason = f"clean in {checks} checks over {(now - since) / 3600:.1f} h"
        audit = tuple[Audit, ...]()
        after = replace(after, clean_checks=0, clean_since=0.0)
        if is_ours:
            after = IpState(state.ip, state.pool, "active", now, reason=reason)
            audit = (Audit(now, PENSTOCK, "undrain-ip", state.ip, reason, f"pool {state.pool}"),)
        closed = (replace(case, closed_at=now, closed_by=PENSTOCK, reason=reason),) if case else ()
        await self._store.record_pools(PoolRecords((after,), cases=closed, audit=audit))
        await self._tell(after, reason, now)
        return after

    def _may_go(self, state: IpState, kept: Mapping[str, IpState]) -> bool:
        """Whether the pool has another usable IP, or the operator lets the last one go too."""
        others = [one.ip for one in self._pools.named[state.pool].ips if one.ip != state.ip]
        return self._settings.may_drain_last or any(one not in kept or kept[one].state == "active" for one in others)

    async def _open_case(self, state: IpState, lists: tuple[str, ...], now: float) -> None:
        began = now - self._settings.window_s
        suspects = await self._suspects(state.ip, lists, began, now)
        case = Case(self._new_id(now), state.ip, state.pool, now, began, lists, suspects)
        audit = Audit(now, PENSTOCK, "open-case", state.ip, f"on {', '.join(lists)}", case.id)
        # Kept before anybody is charged: after a crash in between, evidence is missing rather than counted twice.
        await self._store.record_pools(PoolRecords(cases=(case,), audit=(audit,)))
        for one in suspects:
            if one.blame >= _LEAST_BLAME:
                detail = f"{state.ip} on {', '.join(lists)}"
                key = f"case/{case.id}"
                await self._pipeline.absorb(Event(now, "listing", one.account, detail=detail, share=one.blame, key=key))
        first = f"; most to blame: {suspects[0].account} ({suspects[0].blame:.0%})" if suspects else ""
        await self._tell(state, f"on {', '.join(lists)}{first}", now)

    async def _suspects(self, ip: str, lists: Sequence[str], began: float, now: float) -> tuple[Suspect, ...]:
        """The accounts that used the IP; while observing, those that may have: all whose mail named none."""
        groups = cases.disliked(what for name in lists for what in self._dislikes(name))
        uses = await self._uses(DecisionSearch(ip=ip, since=began, until=now + 1.0, limit=_PAGE), groups)
        if not uses and self._settings.is_observing:
            uses = await self._uses(DecisionSearch(since=began, until=now + 1.0, limit=_PAGE), groups)
        names = cases.first_look(uses)
        states = await self._store.read([f"a:{name}" for name in names]) if names else {}
        return cases.rank({name: uses[name] for name in names}, {k[2:]: v for k, v in states.items()}, groups, now)

    def _dislikes(self, name: str) -> tuple[str, ...]:
        return _BY_RECEIVERS if name.startswith(RECEIVER) else self._settings.dislikes.get(name, ())

    async def _uses(self, search: DecisionSearch, groups: frozenset[str]) -> dict[str, cases.Use]:
        uses, count = dict[str, cases.Use](), 0
        while count < _MOST_ROWS:
            rows = await self._store.decisions(search)
            cases.take(uses, [row for row in rows if row.decision.ip == search.ip], groups)
            count += len(rows)
            if len(rows) < _PAGE:
                break
            search = replace(search, before=rows[-1].decision.id)
        return uses

    async def _tell(self, state: IpState, reason: str, now: float) -> None:
        payload: dict[str, object] = {"what": "ip", "state": state.state, "pool": state.pool, "reason": reason}
        item = OutboxItem(f"ip/{state.ip}/{now:.3f}", now, "notice", state.ip, payload)
        await self._store.update((), lambda: Records(outbox=(item,)))

    def _ips(self) -> list[tuple[str, SendingIp]]:
        return [(name, ip) for name, pool in self._pools.named.items() for ip in pool.ips]

    async def _is_my_turn(self, now: float) -> bool:
        """Whether this process looks now: nobody else has within the last nine tenths of the interval."""
        mine: list[bool] = []

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            mine[:] = [now - float((state[_LEASE] or b"0").decode()) >= 0.9 * self._settings.every_s]
            return {_LEASE: Write(b"%.3f" % now, 86400.0)} if mine[0] else {}

        await self._store.update((Turn(_LEASE, (_LEASE,), step),), lambda: Records(must_be_durable=False))
        return mine[0]


def by_ip(
    listings: Sequence[Listing], ips: Sequence[tuple[str, SendingIp]], least: Severity
) -> dict[str, tuple[Listing, ...]]:
    """The listings that count against each IP: of itself, its IPv6 companion, or a network that holds one of them."""
    bad = [one for one in listings if one.severity.rank >= least.rank and not one.until]
    exact: dict[str, list[Listing]] = {}
    networks = []
    for one in bad:
        if "/" in one.target:
            networks.append((ipaddress.ip_network(one.target, strict=False), one))
        else:
            exact.setdefault(one.target, []).append(one)
    found: dict[str, tuple[Listing, ...]] = {}
    for _, ip in ips:
        both = [text for text in (ip.ip, ip.ip6) if text]
        mine = [one for text in both for one in exact.get(text, ())]
        mine += [one for network, one in networks if any(ipaddress.ip_address(text) in network for text in both)]
        if mine:
            found[ip.ip] = tuple(mine)
    return found


def is_overruled(state: IpState, bad: Sequence[Listing]) -> bool:
    """Whether a person has brought the IP back after all of these listings began: then they do not count."""
    return state.state == "active" and state.who != PENSTOCK and all(one.since <= state.since for one in bad)
