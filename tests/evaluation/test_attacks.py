"""Campaigns vary their text in the ways that are promised, and in no other."""

from random import Random

import pytest

from penstock.evaluation.attacks import BY_MODEL, INVALID_SHARE, VARIATIONS, vary
from penstock.evaluation.letters import Letter

LETTER = Letter(
    1.0, "o", "", "x@y", (), "Offer", "One a. Two b. Three c. http://h.example/p?q=1", "<p>One http://h.example/p</p>"
)


def test_same_is_the_same() -> None:
    """A campaign without variation sends one text."""
    assert vary(LETTER, "same", Random(1), "ann@y.example") == LETTER


@pytest.mark.parametrize("how", [one for one in VARIATIONS if one != "same"])
def test_each_variation_changes_copies(how: str) -> None:
    """Two copies for two recipients differ, and the core of the text stays."""
    rng = Random(2)
    copies = [vary(LETTER, how, rng, to) for to in ("ann@y.example", "bob@y.example")]

    assert copies[0] != copies[1]
    assert all("Two b." in one.plain for one in copies)


def test_names_and_links_are_the_recipients_own() -> None:
    """The greeting names the recipient; the link keeps its host and has another path."""
    assert vary(LETTER, "name", Random(3), "ann@y.example").plain.startswith("Dear Ann,")
    link = vary(LETTER, "links", Random(3), "ann@y.example")
    assert "http://h.example/" in link.plain
    assert "p?q=1" not in link.plain


def test_every_model_has_its_share_of_unknown_recipients() -> None:
    """A1-A10 are all described."""
    assert set(BY_MODEL) | {"A4"} == set(INVALID_SHARE) == {f"A{n}" for n in range(1, 11)}
