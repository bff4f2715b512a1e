"""What pools and IPs mail of the past would have used: a preview of another table, other pools, other pins."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from penstock.judge import warmup
from penstock.judge.pools import Live, Pools, find_route, first_warming, level_of, pick, settle
from penstock.model import Decision, Kind, Standing, transport_name


class Past(Struct, frozen=True):
    """One message that left, and by which way."""

    at: float
    account: str
    standing: Standing
    score: float
    kind: Kind
    rcpt_to: tuple[str, ...]
    before: str = ""
    """The transport that it was given; empty for none."""


class Shift(Struct):
    """Mail of one account, or of one transport, before and after."""

    name: str
    messages: int = 0
    recipients: int = 0
    before: str = ""
    """For an account: the transport of its last message."""
    after: str = ""
    reason: str = ""
    after_messages: int = 0
    """For a transport: what it would carry."""
    after_recipients: int = 0


class Plan(Struct):
    """The preview."""

    accounts: dict[str, Shift]
    transports: dict[str, Shift]

    def moves(self) -> list[Shift]:
        """Accounts that would leave by another way, largest first."""
        found = [one for one in self.accounts.values() if one.before != one.after]
        return sorted(found, key=lambda one: (-one.recipients, one.name))

    def volumes(self) -> list[Shift]:
        """Transports by name."""
        return sorted(self.transports.values(), key=lambda one: one.name)


def past_of(one: Decision, rcpt_to: tuple[str, ...], *, is_forward: bool = False) -> Past:
    """A decision as a plan needs it; `is_forward`: the inbound side handed it on."""
    kind = _believed(one, is_forward=is_forward)
    return Past(one.at, str(one.account), one.standing, one.score, kind, rcpt_to, one.transport)


def _believed(one: Decision, *, is_forward: bool) -> Kind:
    """The kind, without what the mail only says of itself."""
    is_claim = one.kind is Kind.FORWARDED or (one.kind is Kind.AUTOMATIC and one.account.kind == "sasl")
    return Kind.FORWARDED if is_forward else Kind.NORMAL if is_claim else one.kind


def replan(pools: Pools, live: Live, past: Iterable[Past], suspect_at: float) -> Plan:
    """Send everything again, in order of time, with hysteresis and warm-up as in life."""
    plan, places, used = Plan({}, {}), dict[str, bytes | None](), dict[str, bytes | None]()
    for one in past:
        level = level_of(one.standing, one.score, suspect_at)
        place, moved = settle(places.get(one.account), level, one.at, pools.move_after_s)
        if moved:
            places[one.account] = moved
        route = find_route(pools, live, one.account, place.level, one.kind, now=one.at)
        warming, has_room = first_warming(route, pools.warm_up, one.at), False
        if warming is not None:
            data, has_room = warmup.count(used.get(warming.ip), pools.warm_up, warming, one.rcpt_to, one.at)
            used[warming.ip] = data or used.get(warming.ip)
        after = transport_name(*pick(route, pools.warm_up, one.at, has_room=has_room))
        _add(plan, one, after, route.reason)
    return plan


def _add(plan: Plan, one: Past, after: str, reason: str) -> None:
    count = len(one.rcpt_to)
    mine = plan.accounts.setdefault(one.account, Shift(one.account))
    mine.messages += 1
    mine.recipients += count
    mine.before, mine.after, mine.reason = one.before, after, reason
    old = plan.transports.setdefault(one.before, Shift(one.before))
    old.messages += 1
    old.recipients += count
    new = plan.transports.setdefault(after, Shift(after))
    new.after_messages += 1
    new.after_recipients += count
