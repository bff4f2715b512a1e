"""A decision's reasons: each term with what its cause said before this message, so that they add up to the score."""

from __future__ import annotations

from msgspec.structs import replace

from penstock.model import Evidence

_LEAST = 0.005
"""Nats below which a term is not worth a line."""


def as_sum(terms: tuple[Evidence, ...], earlier: dict[str, float], score: float) -> tuple[Evidence, ...]:
    """The message's own terms, each with what the same cause said before, strongest first.

    A stolen password is named by the tenth message of a blast as by its first: a decision is about a run of messages,
    and its reasons are the run's. What the likeliest model of abuse leaves out comes last.
    """
    earlier = {name: round(nats, 3) for name, nats in earlier.items() if nats > _LEAST}
    joined = [
        replace(term, nats=round(term.nats + earlier[term.name], 3), carried=earlier[term.name])
        if term.name in earlier
        else term
        for term in terms
    ]
    own = {term.name for term in terms}
    joined += [
        Evidence(name, nats, "messages before this one", carried=nats)
        for name, nats in earlier.items()
        if name not in own
    ]
    joined.sort(key=lambda term: -abs(term.nats))
    rest = round(score - sum(term.nats for term in joined), 3)
    if abs(rest) > _LEAST:
        joined.append(Evidence("models", rest, "what the likeliest kinds of abuse leave out, and caps"))
    return tuple(joined)
