"""The lines that evidence is held against, derived from budgets of false alarms."""

from __future__ import annotations

from math import log

from msgspec import Struct

MESSAGES_A_YEAR = 7300.0
"""Of an ordinary account, twenty a day; who sends more meets a higher line."""
_STREAMS = 2.0
"""Two statistics run for each message: its source's and its account's."""


class Policy(Struct, frozen=True):
    """Thresholds in nats, and what is exempt from them."""

    hold: float
    suspend: float
    campaign: float
    watch: float = 4.6
    """Above it an account's standing is poor and its pool another."""
    throttle: float = 7.0
    """Above it an account is slowed down, so that bounces come back in time."""
    gate: float = 9.2
    """Content's log-odds (one in ten thousand) at which one message is kept, if it also goes to a stranger."""
    probation_recipients_per_day: int = 50
    exempt: frozenset[str] = frozenset()

    @classmethod
    def from_budgets(
        cls,
        *,
        false_suspensions_per_account_year: float = 1e-3,
        false_holds_per_account_year: float = 0.1,
        probation_recipients_per_day: int = 50,
        exempt: frozenset[str] = frozenset(),
    ) -> Policy:
        """h = ln(m/f) + ln(streams): a CUSUM of e-values has at most f false alarms in m messages (Lorden 1971)."""
        suspend = log(MESSAGES_A_YEAR / false_suspensions_per_account_year) + log(_STREAMS)
        hold = log(MESSAGES_A_YEAR / false_holds_per_account_year) + log(_STREAMS)
        return cls(
            hold=hold,
            suspend=max(suspend, hold),
            campaign=hold,
            throttle=min(7.0, hold),
            probation_recipients_per_day=probation_recipients_per_day,
            exempt=exempt,
        )
