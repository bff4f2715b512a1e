"""Whose is a message that was kept: the owner's, an abuser's, or nobody can say.

For what is done with all of an account's kept mail at once, after it is clear that the account was abused.
"""

from __future__ import annotations

from enum import StrEnum

from penstock.model import Decision

_SPEAKS = frozenset(("content", "campaign", "links", "copies"))
"""Groups of evidence about the message itself; whom it goes to, and how fast, says more about the account."""
_ABUSE = 3.0
_TAGS = frozenset(("PS-CONTENT", "PS-VIRUS", "PS-CAMPAIGN"))


class Hand(StrEnum):
    """Whose a message is."""

    OWNER = "owner"
    ABUSE = "abuse"
    UNCLEAR = "unclear"


def whose(decision: Decision) -> Hand:
    """What the message's own evidence says: none for abuse, and from no place that is new, is the owner's."""
    nats = sum(one.nats for one in decision.evidence if one.group in _SPEAKS)
    if decision.reason in _TAGS or nats >= _ABUSE:
        return Hand.ABUSE
    is_elsewhere = any(one.group == "login" and one.nats > 0 for one in decision.evidence)
    return Hand.OWNER if nats <= 0 and decision.is_judged and not is_elsewhere else Hand.UNCLEAR
