"""Who caused a listing: the accounts that used the IP, each with its share of the blame and the messages that show it.

A message speaks for the account's being the cause by the statistic that it was judged with and by its own evidence;
what the list is known to dislike counts twice. What came back since (bounces, complaints, traps) is in the account's
record. Weights become shares of their sum and one more, so that where nobody stands out nobody is blamed much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp

from msgspec import Struct

from penstock.judge.reputation import summary
from penstock.model import DecisionRow
from penstock.sending import Suspect

MOST_SUSPECTS = 50
_MESSAGES_SHOWN = 5
_NATS = 4.0
"""A message with so many nats counts by two thirds."""
ACTS_ON: dict[str, frozenset[str]] = {
    "traps": frozenset({"traps", "bounces", "novelty"}),  # who writes to bought addresses meets all three
    "bounces": frozenset({"bounces"}),
    "complaints": frozenset({"complaints", "content"}),
    "content": frozenset({"content", "copies", "campaign"}),
    "links": frozenset({"links", "content"}),
    "hijack": frozenset({"login", "novelty", "velocity"}),
    "policy": frozenset(),  # no mail leads there
}
"""What a list dislikes, by the catalogue's words → the groups of evidence that show it."""
_DISLIKED_BY_ALL = frozenset({"traps", "bounces", "content", "complaints"})
_CAME_BACK = ("traps", "bounces", "complaints")


class Use(Struct):
    """What one account sent by the IP."""

    messages: int = 0
    recipients: int = 0
    weight: float = 0.0
    most: float = 0.0
    """The highest statistic."""
    terms: dict[str, tuple[float, str]] = {}
    """By group the strongest evidence and what was seen."""
    worst: list[tuple[float, str]] = []
    """(nats, decision) of the messages that speak most."""


def disliked(dislikes: Iterable[str]) -> frozenset[str]:
    """The groups of evidence that show what lists dislike; what all of them do where nothing is known."""
    found = [ACTS_ON[one] for one in dislikes]
    return frozenset().union(*found) if found else _DISLIKED_BY_ALL


def take(uses: dict[str, Use], rows: Sequence[DecisionRow], groups: frozenset[str]) -> None:
    """Add decisions that named the IP to what their accounts did."""
    for row in rows:
        decision = row.decision
        use = uses.setdefault(str(decision.account), Use())
        use.messages += 1
        use.recipients += len(row.rcpt_to)
        nats = max(0.0, decision.score)
        for one in decision.evidence:
            if one.nats > 0 and one.group:
                nats += one.nats if one.group in groups else 0.0
                use.terms[one.group] = max(use.terms.get(one.group, (0.0, "")), (one.nats, one.seen))
        use.most = max(use.most, decision.score)
        use.weight += len(row.rcpt_to) * (1.0 - exp(-nats / _NATS))
        use.worst = sorted([*use.worst, (nats, decision.id)], reverse=True)[:_MESSAGES_SHOWN]


def rank(
    uses: Mapping[str, Use], states: Mapping[str, bytes | None], groups: frozenset[str], now: float
) -> tuple[Suspect, ...]:
    """The accounts by their share of the blame, most first; `states` are their records by name."""
    back = {
        name: {one: nats for one, nats in summary(states.get(name), now).groups.items() if one in _CAME_BACK}
        for name in uses
    }
    weights = {
        name: use.weight + sum(max(0.0, nats) * (2 if one in groups else 1) for one, nats in back[name].items())
        for name, use in uses.items()
    }
    whole = sum(weights.values()) + 1.0
    order = sorted(uses, key=lambda name: (-weights[name], name))[:MOST_SUSPECTS]
    return tuple(
        Suspect(
            name,
            round(weights[name] / whole, 3),
            uses[name].messages,
            uses[name].recipients,
            _reasons(uses[name], back[name], groups),
            tuple(id for nats, id in uses[name].worst if nats > 0),
        )
        for name in order
    )


def first_look(uses: Mapping[str, Use]) -> list[str]:
    """The accounts whose records are worth reading: those whose messages speak most."""
    return sorted(uses, key=lambda name: -uses[name].weight)[: 4 * MOST_SUSPECTS]


def _reasons(use: Use, back: Mapping[str, float], groups: frozenset[str]) -> tuple[str, ...]:
    terms = {name: (nats, seen) for name, (nats, seen) in use.terms.items()}
    terms.update({name: (nats, "came back since") for name, nats in back.items() if nats > 0})
    order = sorted(terms, key=lambda name: (name not in groups, -terms[name][0]))
    found = [f"{name} {terms[name][0]:+.1f}: {terms[name][1]}"[:160] for name in order if terms[name][0] >= 0.5][:4]
    return (f"statistic up to {use.most:.1f} nats", *found) if use.most >= 0.5 else tuple(found)
