"""Numbers that the browser draws: each chart is a table first, which stays for whoever cannot see it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from penstock.model import DecisionRow, Lines


class Chart(Struct, frozen=True):
    """Columns over time."""

    names: tuple[str, ...]
    """Of the columns that are stacked."""
    rows: tuple[tuple[float, tuple[float, ...], float], ...]
    """(time, a value for each name, their sum as it was held against the lines)."""
    lines: Lines | None
    """Of the last message."""


def evidence_chart(decisions: Sequence[DecisionRow]) -> Chart:
    """An account's evidence, message by message, oldest first: its groups add up to the score."""
    shown = [row.decision for row in reversed(decisions) if row.decision.is_judged and row.decision.lines is not None]
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
        (one.at, tuple(round(groups.get(name, 0.0), 2) for name in names), one.score)
        for one, groups in zip(shown, sums, strict=True)
    )
    return Chart(names, rows, shown[-1].lines if shown else None)
