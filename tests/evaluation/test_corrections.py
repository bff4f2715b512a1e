"""The figures of corrections are counted right, on a corpus small enough to see through."""

from penstock.evaluation.corrections import Seen, report
from penstock.judge.message import parse
from penstock.judge.traits import traits

WORDS = "tulips roses lilies asters daisies violets orchids peonies".split()


def seen(sender, is_abuse, log_odds, text):
    found = traits(parse(f"Subject: news\r\n\r\n{text}\r\n".encode()))
    return Seen(sender, is_abuse, log_odds, found)


def test_siblings_are_repaired_and_abuse_is_not():
    """A shop's six alarms, two of them corrected; abuse that shares nothing stays what it is."""
    frame = "You receive this newsletter because you ordered at our flower shop in the old town last year, thank you."
    shop = [seen("shop", False, 1.0, f"{frame} {word} and {word} again") for word in WORDS[:6]]
    abuse = [
        seen("", True, 2.0, f"Congratulations beneficiary, transfer your inheritance number {n}") for n in range(4)
    ]
    found = report([*shop, seen("ann", False, 3.0, "Shall we meet tomorrow afternoon?"), *abuse], 2)

    assert (found.senders, found.corrections) == (1, 2)
    assert (found.siblings_before, found.siblings_after) == (4, 0)
    assert (found.largest_before, found.largest_after) == (4, 0)
    assert (found.abuse, found.abuse_before, found.abuse_after) == (4, 4, 4)
    assert found.abuse_mean_change == 0.0
