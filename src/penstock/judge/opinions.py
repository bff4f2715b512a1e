"""What other scanners think, as evidence: a score becomes bounded log-odds and is averaged with our own.

    log-odds = (own + sum of weight x nats) / (1 + sum of weights)

over the scanners that answered. An average, not a sum: scanners look at the same message, so they agree for the same
reasons, and adding up would count those twice. One that did not answer is left out, and the others' share grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from penstock.model import Action, Evidence, Finding, Opinion, Verdict

PREFIX = "scanner:"
"""Of the names of its evidence."""
VIRUS = "virus"
"""The name of the finding."""
POINTS = ((-0.5, -2.0), (0.0, -1.5), (0.3, 0.0), (1.0, 4.0), (2.0, 6.0))
"""(score as a share of what the scanner itself requires, nats): a scanner that would refuse is believed with odds of
about fifty to one, one that found nothing says little, since outgoing abuse is what its rules were not made for."""


class Scale(Struct, frozen=True):
    """How one scanner's score is read."""

    weight: float = 0.5
    """Beside our own log-odds, which weigh 1."""
    points: tuple[tuple[float, float], ...] = POINTS
    """Rising in both; between them straight lines, beyond them flat."""

    @classmethod
    def of(cls, weight: float, points: Sequence[tuple[float, float]]) -> Scale:
        """As configured; no points mean the default."""
        return cls(weight, tuple(points) or POINTS)

    def nats(self, score: float, required: float) -> float:
        """The log-odds that a score stands for."""
        share = score / required if 0 < required < inf else score
        (first, least), (_, most) = self.points[0], self.points[-1]
        if not share > first:  # also what is no number
            return least
        for (x0, y0), (x1, y1) in zip(self.points, self.points[1:], strict=False):
            if share <= x1:
                return y0 + (y1 - y0) * (share - x0) / (x1 - x0)
        return most


def with_opinions(verdict: Verdict, opinions: Sequence[Opinion], scales: Mapping[str, Scale]) -> Verdict:
    """The verdict with what others think, each a term of its own and a finding."""
    scored = [(one, scales.get(one.scanner, Scale())) for one in opinions if one.score is not None]
    whole = 1.0 + sum(scale.weight for _, scale in scored)
    terms, findings = [], []
    for one, scale in scored:
        assert one.score is not None
        nats = scale.nats(one.score, one.required)
        seen = f"{one.score:.1f} of {one.required:.1f}: {', '.join(one.symbols[:5])}".rstrip(": ")
        share = scale.weight / whole * (nats - verdict.log_odds)
        terms.append(Evidence(f"{PREFIX}{one.scanner}", share, seen, f"{nats:+.1f} by itself", "content"))
        findings.append(Finding(one.scanner, seen))
    findings += [Finding(VIRUS, one.found) for one in opinions if one.found]
    findings += [Finding(f"{one.scanner}-no-answer", one.trouble) for one in opinions if one.trouble]
    evidence = (*sorted(terms, key=lambda term: -abs(term.nats)), *verdict.evidence)
    log_odds = verdict.log_odds + sum(term.nats for term in terms)
    return replace(verdict, log_odds=log_odds, evidence=evidence, findings=(*findings, *verdict.findings))


def for_virus(wanted: Action, reason: str, verdict: Verdict, on_virus: Action) -> tuple[Action, str]:
    """The action and its reason where a virus was found; nothing less than what was wanted anyway."""
    is_found = any(finding.name == VIRUS for finding in verdict.findings)
    if not is_found or on_virus is Action.ACCEPT or wanted is Action.REJECT:
        return wanted, reason
    return on_virus, "PS-VIRUS"
