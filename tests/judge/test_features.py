"""Views of a message: deterministic, bounded, and blind to what receivers write."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.judge.features import BITS, VIEWS, is_outgoing, look
from penstock.judge.message import parse
from penstock.judge.shape import bucket, findings, shape_tokens

LETTER = (
    b"From: Ann <ann@shop.example>\r\nTo: joe@b.example\r\nReply-To: ann.pay@gmail.com\r\nSubject: Your WINNINGS !\r\n"
    b"\r\nDear winner, claim $1,000,000 at http://192.0.2.9/claim.php?id=7 today!\r\n"
)


def views(raw):
    return look(parse(raw), raw).slots


def test_slots_are_sorted_distinct_and_within_their_tables():
    """What the scorers gather and scatter by is well formed, for every view."""
    slots = views(LETTER)

    assert set(slots) == set(VIEWS)
    for view, found in slots.items():
        assert found.size > 3
        assert np.array_equal(found, np.unique(found))
        assert int(found[-1]) < 1 << BITS[view]


def test_fields_that_receivers_write_change_nothing():
    """Received, filters' verdicts and list fields are not looked at by any view."""
    foreign = (
        b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\nX-Spam-Status: Yes, score=99\r\n"
        b"List-Id: <x.example>\r\nDelivered-To: joe@b.example\r\nAuthentication-Results: mx; spf=fail\r\n"
    )
    alone, decorated = views(LETTER), views(foreign + LETTER)

    for view in VIEWS:
        assert np.array_equal(alone[view], decorated[view]), view


def test_look_alikes_digits_and_case_are_one():
    """A Cyrillic letter in a Latin word, another number and capitals leave the text's slots as they are."""
    plain = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nclaim your prize of 500 now"
    odd = "Subject: X\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nCLAIM your prizе of 731 now"

    assert np.array_equal(views(plain.encode())["text"], views(odd.encode())["text"])


def test_facts_are_found_and_told():
    """Money, a link to an address and replies to a mailbox anyone may have are facts of structure."""
    tokens = shape_tokens(parse(LETTER))

    assert {"link-ip", "reply-elsewhere:free:own", "to:1", "subject-has:!"} <= set(tokens)
    assert {one.name for one in findings(tokens)} >= {"link-to-ip-address", "reply-to-freemail"}


def test_size_classes_double():
    """A bucket says how many bits a number has, so counts of all sizes make few tokens."""
    assert [bucket(number) for number in (0, 1, 2, 3, 4, 5, 8, 9, 1e12)] == [0, 1, 2, 3, 3, 4, 4, 5, 20]


def test_header_names_are_told_apart():
    """What an outgoing message may carry, and what it cannot carry yet."""
    assert is_outgoing("x-mailer")
    assert not any(map(is_outgoing, ("received", "x-spam-flag", "list-unsubscribe", "dkim-signature", "x" * 200)))


def test_the_views_are_bounded_on_a_huge_message():
    """A megabyte of words costs what the first few kilobytes cost."""
    raw = b"Subject: x\r\n\r\n" + b"lorem ipsum dolor " * 60_000
    parsed = parse(raw)
    began = time.process_time()

    slots = look(parsed, raw).slots

    assert time.process_time() - began < 0.25
    assert all(found.size < 12_000 for found in slots.values())


@settings(max_examples=150)
@given(st.binary(max_size=600))
def test_garbage_has_views_too(raw):
    """Whatever comes in, every view is well formed."""
    for view, found in views(raw).items():
        assert found.dtype == np.uint32
        assert not found.size or int(found.max()) < 1 << BITS[view]
