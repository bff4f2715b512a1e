"""SNDS data."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.snds import read_snds

TEXT = """\
192.0.2.25,9/1/2026 12:00 AM,9/2/2026 12:00 AM,1200,1100,"1,150",GREEN,< 0.1%,,,0,mx1.example.com,joe@example.com,
192.0.2.26,9/1/2026 12:00 AM,9/2/2026 12:00 AM,200,100,150,RED,0.4%,,,0,mx1.example.com,eve@example.com,
192.0.2.27,9/1/2026 12:00 AM,9/2/2026 12:00 AM,200,100,150,YELLOW,0.4%,9/1/2026,9/2/2026,2,mx1.example.com,,note
"""


def test_each_ip_has_its_day():
    """Counts, verdict, complaints and traps; the worst is a trap."""
    rows = read_snds(csv.reader(TEXT.splitlines()))

    assert [(one.ip, one.recipients, one.verdict, one.severity) for one in rows] == [
        ("192.0.2.25", 1150, "GREEN", 0),
        ("192.0.2.26", 150, "RED", 2),
        ("192.0.2.27", 150, "YELLOW", 3),
    ]
    assert (rows[2].traps, rows[2].comment, rows[0].helo) == (2, "note", "mx1.example.com")


def test_what_is_no_snds_data_is_refused_with_its_row():
    """A wrong file must not pass for good news."""
    with pytest.raises(ValueError, match="row 2"):
        read_snds([["IP Address"], ["hello"]])
    with pytest.raises(ValueError, match="14"):
        read_snds([["192.0.2.1", "x"]])


@given(st.lists(st.lists(st.text(max_size=20), max_size=16), max_size=5))
def test_any_table_is_read_or_refused(rows):
    """Files are picked by people."""
    try:
        read_snds(rows)
    except ValueError:
        return
