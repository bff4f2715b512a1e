"""The lines that evidence is held against, derived from budgets of false alarms."""

from __future__ import annotations

from functools import lru_cache
from math import log

from msgspec import Struct

from penstock.model import Lines

MESSAGES_A_YEAR = 7300.0
"""Of an ordinary account, twenty a day."""
FEWEST_A_YEAR = 365.0
"""An account that sends less is held to the line of one message a day: what is assumed of it weighs more."""
CHANGES_A_YEAR = 0.4
"""How often a good customer begins something that looks like a blast: a newsletter, a shop, a greeting to everybody."""
SMALL_CHANGES = log(2.5)
"""Nats for changes of habit that barely pass the line: the smaller a change, the more often a year sees it."""
PLACES_A_YEAR = 50.0
"""New places that an owner who travels logs in from."""
MANY_CAMPAIGNS = log(12.0)
"""Nats for the choice among a message's fingerprints: twelve statistics run for them."""
_STREAMS = 2.0
"""Two statistics run for each message: its source's and its account's."""


class Policy(Struct, frozen=True):
    """Thresholds in nats, and what is exempt from them."""

    false_suspensions: float = 1e-3
    """Tolerated for one account in one year."""
    false_holds: float = 0.1
    watch: float = 4.6
    """Above it an account's standing is poor and its pool another."""
    throttle: float = 7.0
    """Above it an account is slowed down, so that bounces come back in time."""
    gate: float = 9.2
    """Content's log-odds (one in ten thousand) at which one message is kept, if it also goes to a stranger."""
    first_gate: float = 6.9
    """The same of an account's first two weeks: of so short a time's few messages, one in a thousand costs less."""
    probation_recipients_per_day: int = 50
    false_refusals: float = 0.02
    """Logins of the owner that are refused for their place: tolerated for one account in one year."""
    exempt: frozenset[str] = frozenset()
    password_releases: bool = True
    """Whether a changed password ends a suspension; False where more is asked for."""
    may_suspend: bool = True
    """False while the circuit breaker is open: mail is still held on its evidence, accounts are not suspended."""

    @property
    def login_line(self) -> float:
        """What a login is held against: each new place is one test."""
        return log(PLACES_A_YEAR / self.false_refusals)

    @property
    def hold(self) -> float:
        """The line of an ordinary account."""
        return self.lines(MESSAGES_A_YEAR).hold

    @property
    def suspend(self) -> float:
        """The line of an ordinary account."""
        return self.lines(MESSAGES_A_YEAR).suspend

    @property
    def campaign(self) -> float:
        """The line of a campaign over several accounts: each message takes a step in a dozen of them."""
        return self.hold + MANY_CAMPAIGNS

    def lines(self, per_year: float) -> Lines:
        """The lines of an account that sends so many messages in a year.

        h = ln(m/f) + ln(streams): a CUSUM of e-values has at most f false alarms in m messages (Lorden 1971). Who sends
        more meets a higher line, so that the budget is the same for every account. m of the second statistic are
        the changes of habit.
        """
        return _lines(per_year, self.false_holds, self.false_suspensions)

    @classmethod
    def from_budgets(
        cls,
        *,
        false_suspensions_per_account_year: float = 1e-3,
        false_holds_per_account_year: float = 0.1,
        false_refusals_per_account_year: float = 0.02,
        probation_recipients_per_day: int = 50,
        exempt: frozenset[str] = frozenset(),
        password_releases: bool = True,
    ) -> Policy:
        """The policy of what an operator tolerates."""
        return cls(
            false_suspensions=false_suspensions_per_account_year,
            false_holds=false_holds_per_account_year,
            false_refusals=false_refusals_per_account_year,
            probation_recipients_per_day=probation_recipients_per_day,
            exempt=exempt,
            password_releases=password_releases,
        )


@lru_cache(maxsize=4096)
def _lines(per_year: float, false_holds: float, false_suspensions: float) -> Lines:
    """An ordinary account's are asked for with each campaign of each message."""
    messages = log(max(FEWEST_A_YEAR, per_year) * _STREAMS)
    hold, suspend = -log(false_holds), -log(min(false_suspensions, false_holds))
    changes = log(CHANGES_A_YEAR)
    return Lines(messages + hold, messages + suspend, max(0.0, changes + hold), max(0.0, changes + suspend))
