"""Whose a kept message is, by its own evidence."""

import pytest
from msgspec.structs import replace

from neighbours.gate import decision
from penstock.judge.review import Hand, whose
from penstock.model import Connection, Envelope, Evidence, Submission

SUBMISSION = Submission("id", 1.0, Connection(), Envelope("joe@x", ("a@y",)), b"")


def said(*terms, **more):
    evidence = tuple(Evidence(name, nats, group=name) for name, nats in terms)
    return replace(decision(SUBMISSION), evidence=evidence, **more)


@pytest.mark.parametrize(
    ("one", "hand"),
    [
        (said(("content", -2.0), ("novelty", 4.0), ("velocity", 5.0)), Hand.OWNER),
        (said(("content", -2.0), ("login", 3.0)), Hand.UNCLEAR),
        (said(("content", 1.0)), Hand.UNCLEAR),
        (said(("content", 2.0), ("links", 1.5)), Hand.ABUSE),
        (said(("content", -1.0), ("campaign", 4.0)), Hand.ABUSE),
        (said(("content", -1.0), reason="PS-VIRUS"), Hand.ABUSE),
        (said(is_judged=False), Hand.UNCLEAR),
    ],
)
def test_content_and_place_say_whose_a_message_is(one, hand):
    """Whom it goes to, and how fast, says more about the account."""
    assert whose(one) is hand
