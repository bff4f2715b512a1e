"""Postmaster data."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.postmaster import read_postmaster

DAYS = """\
Date,Domain,User-reported spam rate,Domain reputation,SPF success rate
2026-09-01,example.com,0.02%,HIGH,99%
2026-09-02,example.com,0.31%,LOW,99%
2026-09-03,example.com,-,REPUTATION_CATEGORY_UNSPECIFIED,99%
"""
LOOPS = "date,feedbackLoopId,spamRatio\n2026-09-01,k3v9a2,0.0012\n"


def test_columns_are_known_by_their_names():
    """In a person's spelling and in the API's; a rate is a share or a percentage."""
    rows = read_postmaster(csv.reader(DAYS.splitlines()))
    (loop,) = read_postmaster(csv.reader(LOOPS.splitlines()))

    assert [(one.day, one.reputation, one.severity) for one in rows] == [
        ("2026-09-01", "HIGH", 0),
        ("2026-09-02", "LOW", 3),
        ("2026-09-03", "UNSPECIFIED", 0),
    ]
    assert rows[1].spam_rate == pytest.approx(0.0031)
    assert rows[2].spam_rate is None
    assert (loop.identifier, loop.spam_rate, loop.severity) == ("k3v9a2", pytest.approx(0.0012), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Date,Domain\n2026-09-01,example.com\n", "names no spam rate"),
        ("Date,Spam rate\n2026-09-01,often\n", 'row 2: "often"'),
        ("Date,Spam rate\n2026-09-01,140%\n", "between 0 and 100 %"),
    ],
)
def test_what_is_no_postmaster_data_is_refused_with_its_row(text, message):
    """A wrong file must not pass for good news."""
    with pytest.raises(ValueError, match=message):
        read_postmaster(csv.reader(text.splitlines()))


@given(st.lists(st.lists(st.text(max_size=20), max_size=6), max_size=5))
def test_any_table_is_read_or_refused(rows):
    """Files are picked by people."""
    try:
        found = read_postmaster([["Date", "Spam rate"], *rows])
    except ValueError as trouble:
        assert "row" in str(trouble)
    else:
        assert all(one.spam_rate is None or 0 <= one.spam_rate <= 1 for one in found)
