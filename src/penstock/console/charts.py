"""Numbers that the browser draws: each chart is a table first, which stays for whoever cannot see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from string import ascii_uppercase

from msgspec import Struct

from penstock.model import DecisionRow, Lines


class Point(Struct, frozen=True):
    """One message of a chart."""

    at: float
    values: tuple[float, ...]
    """One for each of the chart's names."""
    sum: float
    """As it was held against the lines."""
    source: str
    """Where it came from."""
    mark: str
    """The source's letter."""


class Chart(Struct, frozen=True):
    """Columns over time."""

    names: tuple[str, ...]
    """Of the columns that are stacked."""
    rows: tuple[Point, ...]
    lines: Lines | None
    """Of the last message."""
    marks: Mapping[str, str]
    """Letters by source, in the order in which sources came."""


def evidence_chart(decisions: Sequence[DecisionRow]) -> Chart:
    """An account's evidence, message by message, oldest first: its groups add up to the score."""
    judged = [row for row in reversed(decisions) if row.decision.is_judged and row.decision.lines is not None]
    shown, sources = [row.decision for row in judged], [row.source or row.client_ip for row in judged]
    marks = dict(zip(dict.fromkeys(sources), chain(ascii_uppercase, repeat("*")), strict=False))
    weights: dict[str, float] = {}
    sums = list[dict[str, float]]()
    for one in shown:
        groups: dict[str, float] = {}
        for term in one.evidence:
            name = term.group or term.name
            groups[name] = groups.get(name, 0.0) + term.nats
            weights[name] = weights.get(name, 0.0) + abs(term.nats)
        sums.append(groups)
    names = tuple(sorted(weights, key=lambda name: -weights[name])[:8])
    rows = tuple(
        Point(one.at, tuple(round(groups.get(name, 0.0), 2) for name in names), one.score, source, marks[source])
        for one, groups, source in zip(shown, sums, sources, strict=True)
    )
    return Chart(names, rows, shown[-1].lines if shown else None, marks)
