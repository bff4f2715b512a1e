"""What the evidence asks for: which streams speak, whether they are over their lines, and the action that follows."""

from __future__ import annotations

from penstock.judge.campaigns import CampaignView
from penstock.judge.evidence import MANY_TENANTS, Message, Terms
from penstock.judge.history import AccountState, SourceState
from penstock.judge.policy import SMALL_CHANGES, Policy
from penstock.judge.standing import DAY_S, NORMAL_AFTER_S
from penstock.judge.streams import Stream
from penstock.model import Action, Kind, Lines

_ENOUGH = 1.0
"""Nats that a group must have to count as one that speaks for abuse."""
_AT_THE_LINE = 1.5
"""The same of a stream at the line of a hold; more evidence of one kind never makes another count for less."""
_INDEPENDENT = frozenset(("content", "recipients", "bounces", "login", "campaign", "complaints"))
_WINDOW_S = 240.0
"""Shorter than the five minutes after which a mail server tries again, so that each try falls into a later window."""
_PROBATION_DOUBLES_S = 2 * 86400.0
"""In which time of good mail a new account may write to twice as many strangers a day."""
_HYSTERESIS = 2.3
"""Nats below the line at which a held stream is let go."""
_ESTABLISHED = 20
"""Good messages after which a source answers for itself alone."""


def streams_of(account: AccountState, source: SourceState, message: Message, is_own_place: bool) -> list[Stream]:
    """The streams that a message is held against: its source's, and where the source has no past its account's.

    A script or a host may be called from anywhere, so that only a login's places tell the owner from a thief.
    """
    if is_own_place:
        return [source.stream]
    return [source.stream, account.stream.at(source.stream) if message.has_login else account.stream]


def is_settled(message: Message, source: SourceState) -> bool:
    """Whether a source of a login has sent so much good mail that it answers for itself alone."""
    return message.has_login and source.good >= _ESTABLISHED


def close(
    account: AccountState, source: SourceState, streams: list[Stream], lines: Lines, *, machine: bool
) -> list[bool]:
    """Which of the streams are held."""
    is_over = [_is_over(one, lines, machine=machine) for one in streams]
    source.stream.is_closed = is_over[0]
    if len(is_over) > 1:
        account.stream.is_closed = is_over[1]
    return is_over


def is_manifold(stream: Stream) -> bool:
    """Whether two independent kinds of evidence speak for abuse, and no good customer's change of habits explains it.

    New links go with new recipients in every newsletter, so they count beside a new source only.
    """
    kinds = stream.kinds(max(_ENOUGH, min(_AT_THE_LINE, stream.nats / 6.0)))
    return len(kinds & _INDEPENDENT) >= 2 or {"login", "links"} <= kinds


def per_year(account: AccountState, now: float) -> float:
    """Messages that the owner sends in a year, shrunk to one a day by a month's worth."""
    days = max(0.0, now - account.first_at) / DAY_S
    return 365.25 * (account.learnt + 30.0) / (days + 30.0)


def standing_signs(
    account: AccountState, stream: Stream, policy: Policy, lines: Lines, *, machine: bool
) -> tuple[bool, bool]:
    """Whether the account is suspect, and whether it is proven to be abused."""
    if machine:
        return False, False
    has_two_kinds = is_manifold(stream)
    is_suspect = stream.nats >= policy.watch and has_two_kinds and stream.against_bulk >= lines.hold_bulk
    is_beyond = stream.nats >= lines.suspend and stream.against_bulk >= lines.suspend_bulk
    return is_suspect, (is_beyond and has_two_kinds) or account.traps >= 2


def wish(
    account: AccountState,
    stream: Stream,
    message: Message,
    terms: Terms,
    *,
    campaigns: tuple[CampaignView, ...],
    policy: Policy,
    machine: bool,
    is_held: bool,
) -> tuple[Action, str, float]:
    """The action that the evidence asks for, its reason, and for a throttle when to try again."""
    if machine and message.verdict.kind is Kind.FORWARDED:
        return Action.ACCEPT, "", 0.0  # what others sent says nothing about who forwards it; its pool is another
    is_strange = terms.new_recipients > 0 or "login" in terms.groups
    gate = policy.first_gate if _is_new(account, message.now) else policy.gate
    if is_strange and message.verdict.log_odds - max(0.0, terms.usual) >= gate:
        return Action.HOLD, "PS-CONTENT", 0.0
    if is_held:
        return Action.HOLD, "PS-CAMPAIGN" if terms.groups.get("campaign", 0.0) > 3.0 else "PS-ACCOUNT", 0.0
    if machine:
        return Action.ACCEPT, "", 0.0  # mail servers everywhere write the same bounces and automatic replies
    for one in campaigns:
        is_run = one.nats >= policy.campaign and one.tenants >= MANY_TENANTS and not one.is_common
        if is_run and (message.verdict.log_odds > 0 or stream.groups.get("login", 0.0) >= _ENOUGH):
            return Action.HOLD, "PS-CAMPAIGN", 0.0
    return _slowed(account, stream, message, terms, policy)


def bulk_line(stream: Stream, lines: Lines) -> float:
    """Nats that no good customer's new habit may explain, for the stream's mail to be held, or to stay so."""
    if stream.is_closed:
        return lines.hold_bulk
    # The further over the line, the rarer a good customer's change of habits that could explain it.
    is_small = 1.0 - (stream.nats - lines.hold) / (lines.suspend - lines.hold + 1e-9)
    return lines.hold_bulk + SMALL_CHANGES * min(1.0, max(0.0, is_small))


def _is_over(stream: Stream, lines: Lines, *, machine: bool) -> bool:
    """Whether the stream's mail is held: from the line on, until it is well below."""
    if stream.is_closed:
        return stream.nats >= lines.hold - _HYSTERESIS and stream.against_bulk >= lines.hold_bulk
    is_beyond = stream.nats >= lines.hold and stream.against_bulk >= bulk_line(stream, lines)
    return is_beyond and (machine or is_manifold(stream))


def _is_new(account: AccountState, now: float) -> bool:
    return now - account.first_at < NORMAL_AFTER_S and not account.by_hand


def _slowed(
    account: AccountState, stream: Stream, message: Message, terms: Terms, policy: Policy
) -> tuple[Action, str, float]:
    """Probation of new accounts, and the slow start of accounts whose recipients alone are odd."""
    if _is_new(account, message.now) and terms.new_recipients:
        day = int(message.now // 86400)
        used = account.day_new if account.day == day else 0
        age = message.now - account.first_at
        most = policy.probation_recipients_per_day * 2.0 ** (age / _PROBATION_DOUBLES_S)
        if used + terms.new_recipients > most:
            return Action.THROTTLE, "PS-PROBATION", (day + 1) * 86400.0 - message.now
    slow, count = account.slow, len(message.recipients)
    # A window lasts its time: who was not answered yet passes for known, and would end it before a bounce can come.
    is_slow = slow.room > 0 and message.now - slow.began <= _WINDOW_S
    if stream.nats < policy.throttle and not is_slow:
        return Action.ACCEPT, "", 0.0
    harmless = message.verdict.log_odds < 0
    first = 3 if is_manifold(stream) else 400 if harmless else 25
    if message.now - slow.began > 12 * _WINDOW_S:
        slow.began, slow.used, slow.room = message.now, 0, first
    elif message.now - slow.began > _WINDOW_S:
        slow.began, slow.used, slow.room = message.now, 0, min(slow.room * 8, 1_000_000)
    if slow.used and slow.used + count > slow.room:
        return Action.THROTTLE, "PS-THROTTLE", max(1.0, slow.began + _WINDOW_S - message.now)
    slow.used += count
    return Action.ACCEPT, "", 0.0


def why(stream: Stream) -> str:
    """The groups that speak for abuse, strongest first."""
    ranked = sorted(stream.groups.items(), key=lambda item: -item[1])
    return ", ".join(f"{group} {nats:+.1f}" for group, nats in ranked if nats >= _ENOUGH)
