"""The way back: when a suspension may end by itself, and what is asked for before.

What can be checked is checked: the password changed after the account was shut, its sessions ended, the script's file
is gone or another one. What cannot be is confirmed by a person, or by the panel. Each release by itself comes later
than the one before, and after a few of them only a person lets the account in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from penstock.judge.history import read_account
from penstock.judge.shutting import Shut
from penstock.model import Rung, Standing


class Condition(StrEnum):
    """What is asked for before an account is let in again."""

    PASSWORD = "password-changed"  # noqa: S105
    SESSIONS = "sessions-ended"
    FORWARDS = "forwards-reviewed"
    SCRIPT = "script-changed"


_OF_RUNG = {
    Rung.SCRIPT: {Condition.SCRIPT},
    Rung.PASSWORD: {Condition.PASSWORD, Condition.SESSIONS, Condition.FORWARDS},
    Rung.MAILBOX: {Condition.PASSWORD, Condition.SESSIONS, Condition.FORWARDS},
    Rung.DOMAIN: {Condition.PASSWORD, Condition.SESSIONS, Condition.FORWARDS},
    Rung.ACCOUNT: {Condition.PASSWORD},
}


def conditions_of(rung: Rung) -> frozenset[Condition]:
    """What can be asked for where such a thing was shut."""
    return frozenset(_OF_RUNG.get(rung, ()))


class Terms(Struct, frozen=True):
    """What the operator asks for."""

    conditions: frozenset[Condition] = frozenset((Condition.PASSWORD, Condition.SCRIPT))
    after_s: tuple[float, ...] = ()
    """How long after it was shut an account is released by itself: the first time, the second …; then no more."""
    ends_sessions: bool = False
    """Whether a driver ends sessions, when an account is shut and before it is opened."""

    @classmethod
    def of(cls, conditions: Sequence[str], hours: Sequence[float], *, ends_sessions: bool) -> Terms:
        """The terms of what the settings say."""
        after_s = tuple(one * 3600.0 for one in hours)
        return cls(frozenset(Condition(one) for one in conditions), after_s, ends_sessions)

    @property
    def password_releases(self) -> bool:
        """Whether a changed password alone ends a suspension, at once."""
        more = {Condition.FORWARDS} if self.ends_sessions else {Condition.FORWARDS, Condition.SESSIONS}
        return not self.conditions & more


class Way(Struct, frozen=True):
    """How far an account is on its way back."""

    met: tuple[Condition, ...]
    missing: tuple[Condition, ...]
    opens_at: float
    """When it is released by itself if nothing is missing; 0 for never, or where a person suspended it."""
    is_due: bool = False


def way_back(
    shut: Shut, account: bytes | None, terms: Terms, now: float, *, confirmed: Mapping[Condition, bool] | None = None
) -> Way:
    """How far a suspended account is. `confirmed` is what was checked outside: the script's file."""
    state = read_account(account, now)
    asked = sorted({one for thing in shut.things for one in conditions_of(thing.rung)} & terms.conditions)
    since = state.since if state.standing == Standing.SUSPENDED else shut.shut_at
    seen = {Condition(one) for one, at in shut.met.items() if at >= since and one in set(Condition)}
    if state.reset_at >= since:
        seen.add(Condition.PASSWORD)
    if terms.ends_sessions:
        seen.add(Condition.SESSIONS)
    seen |= {one for one, is_met in (confirmed or {}).items() if is_met}
    met, missing = tuple(one for one in asked if one in seen), tuple(one for one in asked if one not in seen)
    opens_at = 0.0
    if not state.by_hand and shut.releases < len(terms.after_s):
        opens_at = since + terms.after_s[shut.releases]
    is_at_once = Condition.PASSWORD in met and not state.by_hand
    return Way(met, missing, opens_at, not missing and (is_at_once or 0.0 < opens_at <= now))
