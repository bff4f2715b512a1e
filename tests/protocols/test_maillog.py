"""Postfix's log: lines become transactions, and what is no line of a queued message harms nobody."""

# ruff: noqa: E501
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.protocols.maillog import Assembler, read_line

LOG = """\
Nov  3 09:15:01 mx1 postfix/submission/smtpd[811]: 4XyB2k1Zq8z9vKp: client=pc.home.example[192.0.2.7], sasl_method=PLAIN, sasl_username=joe@a.example
Nov  3 09:15:01 mx1 postfix/cleanup[815]: 4XyB2k1Zq8z9vKp: message-id=<1@a.example>
Nov  3 09:15:02 mx1 postfix/qmgr[77]: 4XyB2k1Zq8z9vKp: from=<joe@a.example>, size=1234, nrcpt=2 (queue active)
Nov  3 09:15:03 mx1 postfix/smtp[820]: 4XyB2k1Zq8z9vKp: to=<ann@b.example>, relay=mx.b.example[198.51.100.1]:25, delay=1.2, delays=0.1/0/0.6/0.5, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4F)
Nov  3 09:15:04 mx1 postfix/smtp[821]: 4XyB2k1Zq8z9vKp: to=<no@c.example>, relay=mx.c.example[198.51.100.2]:25, delay=2, delays=0/0/1/1, dsn=5.1.1, status=bounced (host mx.c.example[198.51.100.2] said: 550 5.1.1 <no@c.example>: User unknown, from=<x@y> (in reply to RCPT TO command))
Nov  3 09:15:04 mx1 postfix/qmgr[77]: 4XyB2k1Zq8z9vKp: removed
"""


def test_lines_add_up_to_a_transaction():
    """Login, client, sender, both recipients and their fate; words of the reply are no fields."""
    assembler = Assembler()
    done = [found for line in LOG.splitlines() if (found := assembler.add(read_line(line, year=2026)))]

    assert len(done) == 1
    sent = done[0]
    assert (sent.login, sent.client_ip, sent.mail_from) == ("joe@a.example", "192.0.2.7", "joe@a.example")
    assert (sent.message_id, sent.size_bytes, sent.is_removed) == ("1@a.example", 1234, True)
    assert sent.at == datetime(2026, 11, 3, 9, 15, 1, tzinfo=UTC).timestamp()
    assert {one.address: (one.status, one.dsn) for one in sent.recipients.values()} == {
        "ann@b.example": ("sent", "2.0.0"),
        "no@c.example": ("bounced", "5.1.1"),
    }
    assert "User unknown" in sent.recipients["no@c.example"].reply


def test_local_mail_names_its_unix_user():
    """What a web server hands to sendmail is seen by its uid, in RFC 3339 times too."""
    line = "2026-11-03T09:15:01.123456+01:00 mx1 postfix/pickup[5]: 1A2B3C4D5E: uid=33 from=<www-data>"
    found = Assembler()
    found.add(read_line(line, year=1999))
    (sent,) = found.rest()

    assert (sent.uid, sent.mail_from) == ("33", "www-data")
    assert sent.at == datetime(2026, 11, 3, 8, 15, 1, 123456, tzinfo=UTC).timestamp()


def test_what_is_no_queued_message_gives_nothing():
    """Rejects without a queue id, other programs and broken times are passed over."""
    for line in (
        "Nov  3 09:15:01 mx1 postfix/smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 5.7.1 no; from=<> to=<>",
        "Nov  3 09:15:01 mx1 postfix/smtpd[1]: connect from x[192.0.2.1]",
        "Nov  3 09:15:01 mx1 dovecot: imap-login: Login: user=<joe>",
        "Feb 30 09:15:01 mx1 postfix/qmgr[1]: 1A2B3C4D5E: removed",
        "",
    ):
        assert read_line(line, year=2026) is None


@settings(max_examples=200)
@given(st.text(max_size=300), st.integers(0, 5))
def test_garbage_is_survived(text, place):
    """No line, whole or cut or spliced with garbage, raises."""
    line = LOG.splitlines()[place]
    assembler = Assembler(most=2)
    for candidate in (text, line[: len(text)] + text, line + text):
        found = read_line(candidate, year=2026)
        if found is not None:
            assembler.add(found)

    assert len(list(assembler.rest())) <= 3


def test_memory_is_bounded_by_messages_under_way():
    """A log without `removed` lets the oldest go instead of growing."""
    assembler = Assembler(most=10)
    gone = 0
    for number in range(100):
        line = (
            f"Nov  3 09:15:01 mx1 postfix/qmgr[77]: {number:06X}FF: from=<a@b.example>, size=1, nrcpt=1 (queue active)"
        )
        gone += assembler.add(read_line(line, year=2026)) is not None

    assert gone == 90
    assert len(list(assembler.rest())) == 10
