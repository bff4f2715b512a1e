"""What a provider's own verdicts add to the content model: a correction that can be bounded, taken back and explained.

The shipped weights never change. Beside them stands one linear scorer over traits, built from examples alone, in their
order, so that the same examples give the same scorer and leaving some out is as if they had never been. One example
adds a multiple of its own traits, scaled to length one; what it moves another message by is that multiple times the
cosine of the two, which is never above one. The multiples of an account's examples may add up to `account` nats, of a
tenant's to `tenant`, of a day's to `day`: so whatever they say, and however many there are, no message's log-odds move
by more than that because of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import sqrt

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from penstock.examples import Lesson, Remembered
from penstock.judge.hearing import Content, Heard
from penstock.judge.linear import probability
from penstock.judge.opinions import PREFIX
from penstock.judge.parsed import Parsed
from penstock.judge.traits import BITS, FEWEST, FORMAT, Slots, Traits, traits
from penstock.model import Action, Decision, Envelope, Evidence, Verdict

TERM = "learnt"
"""The name of its evidence."""
NEAR = 2.0
"""Log-odds right by this much are hardly moved any more."""
_LEAST_NATS = 0.02


class Bounds(Struct, frozen=True):
    """The most that examples may move a message's log-odds by, in nats."""

    example: float = 4.0
    account: float = 8.0
    tenant: float = 24.0
    day: float = 400.0
    most: float = 10.0
    """All examples together, on one message."""


class Learnt:
    """The scorer that examples add up to."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._runs: NDArray[np.float32] = np.zeros(1 << BITS, np.float32)
        self._facts: NDArray[np.float32] = np.zeros(1 << BITS, np.float32)
        self._used: defaultdict[tuple[str, str | int], float] = defaultdict(float)
        self.examples = 0
        """That moved something."""

    def copy(self) -> Learnt:
        """Another one that can go on by itself."""
        other = Learnt.__new__(Learnt)
        other._bounds, other.examples = self._bounds, self.examples
        other._runs, other._facts, other._used = self._runs.copy(), self._facts.copy(), self._used.copy()
        return other

    def nats(self, found: Traits) -> float:
        """What the examples say about a message, clipped."""
        most = self._bounds.most
        return max(-most, min(most, self._sum(found)))

    def _sum(self, found: Traits) -> float:
        return sum(float(table.take(slots).sum(dtype=np.float64)) * scale for table, slots, scale in self._parts(found))

    def _parts(self, found: Traits) -> list[tuple[NDArray[np.float32], Slots, float]]:
        """Each table with a message's slots in it and what one slot counts: all squared add up to one."""
        parts = [
            (table, slots) for table, slots in ((self._runs, found.runs), (self._facts, found.facts)) if slots.size
        ]
        return [(table, slots, 1.0 / sqrt(slots.size * len(parts))) for table, slots in parts]

    def teach(self, lesson: Lesson) -> float:
        """One bounded step towards an example's label; the nats used, 0 where it is right already or a bound is full.

        A weak example (`weight` below one) takes a smaller step and may use only that share of each bound.
        """
        one = lesson.example
        try:
            found = Traits.unpack(lesson.traits) if one.format == FORMAT else None
        except ValueError:
            return 0.0
        if found is None:
            return 0.0
        sign = 1.0 if one.is_abuse else -1.0
        step = self._bounds.example * one.weight * probability(NEAR - sign * (one.log_odds + self.nats(found)))
        purses = self._purses(lesson)
        step = min(step, *(one.weight * most - self._used[purse] for purse, most in purses))
        if step < _LEAST_NATS:
            return 0.0
        for purse, _ in purses:
            self._used[purse] += step
        for table, slots, scale in self._parts(found):
            table[slots] += np.float32(sign * step * scale)
        self.examples += 1
        return step

    def teach_all(self, lessons: Iterable[Lesson]) -> Learnt:
        """Take in examples in their order; itself."""
        for lesson in lessons:
            self.teach(lesson)
        return self

    def _purses(self, lesson: Lesson) -> tuple[tuple[tuple[str, str | int], float], ...]:
        one, bounds = lesson.example, self._bounds
        account = one.account or one.who
        return (
            (("account", account), bounds.account),
            (("tenant", one.tenant or account), bounds.tenant),
            (("day", int(one.at // 86400)), bounds.day),
        )


class Taught:
    """A content model with what was learnt on top; `learnt` may be swapped at any time."""

    def __init__(self, seed: Content, learnt: Learnt | None = None) -> None:
        self.seed = seed
        self.learnt = learnt

    def weigh(self, parsed: Parsed, raw: bytes, envelope: Envelope) -> Verdict:
        """What the content of a message says, the provider's own verdicts included."""
        verdict, learnt = self.seed.weigh(parsed, raw, envelope), self.learnt
        if learnt is None or not learnt.examples:
            return verdict
        nats = learnt.nats(traits(parsed))
        if abs(nats) < _LEAST_NATS:
            return verdict
        term = Evidence(TERM, nats, "like mail that people here have judged", group="content")
        evidence = sorted((*verdict.evidence, term), key=_strength)
        return replace(verdict, log_odds=verdict.log_odds + nats, evidence=tuple(evidence))


def _strength(term: Evidence) -> float:
    return -abs(term.nats) if term.name != "rest" else 0.0


def untaught(verdict: Verdict) -> float:
    """The log-odds without what examples and other scanners added."""
    return verdict.log_odds - sum(t.nats for t in verdict.evidence if t.name == TERM or t.name.startswith(PREFIX))


def remembered(heard: Heard, decision: Decision) -> tuple[Remembered, ...]:
    """What must be kept of a message that a person may want to correct later; most mail leaves nothing.

    Of a message that is held all is kept anyway; what passed as harmless is never taught by complaints.
    """
    is_plain = decision.wanted is Action.ACCEPT and heard.verdict.log_odds <= 0
    if is_plain or decision.action is Action.HOLD:
        return ()
    found = traits(heard.parsed)
    if len(found) < FEWEST:
        return ()
    return (Remembered(decision.id, decision.at, FORMAT, untaught(heard.verdict), found.pack()),)
