"""Queues of two mail servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.mail_queue import read_exim, read_postfix

POSTFIX = b"""\
{"queue_name": "deferred", "queue_id": "4B1C2D3E4F", "arrival_time": 1000, "message_size": 900, "forced_expire": false, "sender": "joe@example.com", "recipients": [{"address": "a@far.example", "delay_reason": "connection timed out"}, {"address": "b@far.example"}]}
{"queue_name": "hold", "queue_id": "3bZrR26Tqlz9", "arrival_time": 1500, "message_size": 10, "sender": "MAILER-DAEMON", "recipients": []}
"""  # noqa: E501
EXIM = b"""\
25m  2.9K 1tABcd-000000005Xy-0abc <joe@example.com>
          a@far.example
        D b@far.example
          c@far.example

 2d   310 0t5C6f-0000c8-00 <> *** frozen ***
          d@far.example

"""


def test_postfix_tells_what_waits_and_why():
    """One object a line; the null sender is empty."""
    one, other = read_postfix(POSTFIX.splitlines(), 2000.0)

    assert (one.queue_id, one.mail_from, one.recipients) == (
        "4B1C2D3E4F", "joe@example.com", ("a@far.example", "b@far.example"),
    )  # fmt: skip
    assert (one.age_s, one.size_bytes, one.is_held, one.reason) == (1000.0, 900, False, "connection timed out")
    assert (other.mail_from, other.is_held) == ("", True)


def test_exim_tells_what_waits():
    """Recipients that are done are left out; frozen is held."""
    one, other = read_exim(EXIM.splitlines(), 0.0)

    assert (one.queue_id, one.mail_from, one.recipients) == (
        "1tABcd-000000005Xy-0abc", "joe@example.com", ("a@far.example", "c@far.example"),
    )  # fmt: skip
    assert (one.age_s, one.size_bytes, one.is_held) == (1500.0, 2969, False)
    assert (other.age_s, other.mail_from, other.is_held) == (172800.0, "", True)


def test_what_is_no_answer_of_postfix_is_refused_with_its_line():
    """An error text must not pass for an empty queue."""
    with pytest.raises(ValueError, match="line 1"):
        list(read_postfix([b"postqueue: fatal: no"], 0.0))


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_lines_are_read_or_refused(lines):
    """Senders and recipients are whatever strangers wrote."""
    list(read_exim(lines, 0.0))
    try:
        list(read_postfix(lines, 0.0))
    except ValueError:
        return
