"""Which pool a message leaves through."""

import pytest

from penstock.judge.pools import choose_pool
from penstock.model import Kind, Standing

CHOICES = {"poor": "suspect", "bulk": "bulk", "trusted/bulk": "good-bulk", "default": "normal"}


@pytest.mark.parametrize(
    ("standing", "kind", "pool"),
    [
        (Standing.NORMAL, Kind.NORMAL, "normal"),
        (Standing.NORMAL, Kind.BULK, "bulk"),
        (Standing.TRUSTED, Kind.BULK, "good-bulk"),
        (Standing.POOR, Kind.BULK, "suspect"),
        (Standing.POOR, Kind.NORMAL, "suspect"),
    ],
)
def test_the_most_specific_choice_wins(standing, kind, pool):
    """A poor account's newsletter is first of all a poor account's."""
    assert choose_pool(standing, kind, CHOICES) == pool


def test_nothing_configured_names_no_pool():
    """Without pools no header is written."""
    assert choose_pool(Standing.NORMAL, Kind.NORMAL, {}) == ""
