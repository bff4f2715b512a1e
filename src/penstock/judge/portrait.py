"""What an account's owner usually does, and from where: the numbers that evidence is weighed against, for people."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from penstock.judge import channels
from penstock.judge.history import Fading, read_account, read_source
from penstock.judge.login_past import DAY_S, read_logins
from penstock.judge.logins import ENOUGH_GOOD


class Share(Struct, frozen=True):
    """How often something happens, of so many times that are remembered; what is old counts less."""

    share: float
    of: float


class Baseline(Struct, frozen=True):
    """The owner's habits, as they are remembered now."""

    learnt: int
    """Messages that its past is learnt from: they left while nothing independent spoke against the account."""
    is_set_aside: bool
    """Whether these are the habits from before the account became suspect, which it gets back."""
    known_recipients: int
    """About so many recipients pass for known."""
    active_hours: float
    """Hours in which something was sent, fading."""
    per_hour: float
    """Recipients in an ordinary active hour."""
    most_per_hour: float
    """Recipients that one active hour in twenty has, or more."""
    week: tuple[float, ...]
    """Shares of active hours: four quarters of a working day from midnight UTC, then of a weekend's day; empty where
    none is known."""
    content: float
    """Mean log-odds of abuse of its own mail's content."""
    shares: Mapping[str, Share]
    """By what happens; `share` is of recipients for `new-recipients`, `unknown-recipients`, else of messages or logins
    that show such a thing at all."""
    complaints: float
    """Complaints, fading with those that follow."""
    uncomplained: int
    """Recipients of mail that left since a complaint last came."""
    traps: int
    """Spamtraps that it wrote to."""
    new_places_a_day: float
    """New places to log in from, a day."""
    wrong_passwords: int
    """Different wrong passwords within a day."""
    refused_at: float
    """When a login last was, or would have been, refused for its place; 0 for never."""


class SourceView(Struct, frozen=True):
    """One source of an account."""

    source: str
    client: str
    """The mail program that it used last."""
    first_at: float
    seen_at: float
    messages: int
    good: int
    """Messages that left from here while nothing spoke against them."""
    is_owners: bool
    """Whether they are enough to make it one of the owner's places."""
    nats: float
    """What is said against its mail now."""


def baseline(account_bytes: bytes | None, logins_bytes: bytes | None, now: float) -> Baseline:
    """An account's records as habits."""
    account, logins = read_account(account_bytes, now), read_logins(logins_bytes)
    habits = account.owners or account.habits()
    usual, most = channels.hourly(habits.hours)
    hours = sum(account.week)
    new, days = logins.new_a_day(now)
    pasts = {
        "new-recipients": habits.novelty,
        "unknown-recipients": account.bounces,
        "copies": habits.copies,
        "new-link": habits.links,
        "new-attachment": habits.parts,
        "new-source": account.sources,
        "new-client": habits.clients,
    }
    known = account.known
    return Baseline(
        learnt=account.learnt,
        is_set_aside=account.owners is not None,
        known_recipients=known.count + (known.size * 4 // 5 if known.before else 0),
        active_hours=round(habits.hours.weight, 1),
        per_hour=round(usual, 2) if habits.hours.weight else 0.0,
        most_per_hour=round(most, 1) if habits.hours.weight else 0.0,
        week=tuple(round(one / hours, 3) for one in account.week) if hours else (),
        content=round(account.centre, 2),
        shares={name: _share(past) for name, past in pasts.items() if past.yes + past.no > 0.0},
        complaints=round(account.complaints.yes, 2),
        uncomplained=account.uncomplained,
        traps=account.traps,
        new_places_a_day=round(new / days, 3) if days else 0.0,
        wrong_passwords=sum(at > now - DAY_S for *_, at in logins.wrong),
        refused_at=logins.refused_at,
    )


def _share(past: Fading) -> Share:
    return Share(round(past.yes / (past.yes + past.no), 4), round(past.yes + past.no, 1))


def source_view(source: str, data: bytes | None, now: float) -> SourceView:
    """A source's record, for people."""
    found = read_source(data)
    stream = found.stream
    first_at, seen_at = stream.first_at, stream.seen_at
    stream.fade(now)
    return SourceView(
        source, found.client, first_at, seen_at, stream.messages, found.good, found.good >= ENOUGH_GOOD,
        round(stream.nats, 2),
    )  # fmt: skip
