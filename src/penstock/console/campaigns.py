"""Campaigns as decisions tell of them: messages of several accounts that share a fingerprint."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from penstock.model import DecisionRow


class Campaign(Struct, frozen=True):
    """One shared fingerprint among recent decisions."""

    fingerprint: str
    """`text:…`, `url:…`, `reply-to:…`."""
    seen: str
    """What the latest message was told of it."""
    accounts: tuple[str, ...]
    messages: int
    recipients: int
    first_at: float
    last_at: float
    subject: str
    """Of the latest message."""
    latest: str
    """Its decision."""


def campaigns_of(rows: Iterable[DecisionRow]) -> list[Campaign]:
    """Campaigns that a set of decisions names, the widest first."""
    found: dict[str, dict[str, DecisionRow]] = {}
    told: dict[str, str] = {}
    for row in sorted(rows, key=lambda one: one.decision.id):
        for term in row.decision.evidence:
            if term.name == "campaign":
                fingerprint = term.seen.partition(" from ")[0]
                found.setdefault(fingerprint, {})[row.decision.id] = row
                told[fingerprint] = term.seen
    campaigns = [_campaign(name, told[name], list(rows.values())) for name, rows in found.items()]
    return sorted(campaigns, key=lambda one: (-len(one.accounts), -one.messages, one.fingerprint))


def _campaign(fingerprint: str, seen: str, rows: list[DecisionRow]) -> Campaign:
    last = rows[-1]
    return Campaign(
        fingerprint,
        seen,
        tuple(dict.fromkeys(str(row.decision.account) for row in rows)),
        len(rows),
        sum(len(row.rcpt_to) for row in rows),
        rows[0].decision.at,
        last.decision.at,
        last.subject,
        last.decision.id,
    )
