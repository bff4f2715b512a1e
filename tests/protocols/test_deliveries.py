"""Delivery logs of three mail servers, read in bulk."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.deliveries import FORMATS, Arrival, Outcome, Reader, exim, postfix, sendmail

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC).timestamp()
POSTFIX = b"""\
Sep  1 08:00:00 mx1 postfix/submission/smtpd[77]: 4B1C2D3E4F: client=pc[192.0.2.7], sasl_method=PLAIN, sasl_username=joe@example.com
Sep  1 08:00:00 mx1 postfix/cleanup[78]: 4B1C2D3E4F: message-id=<one@example.com>
Sep  1 08:00:00 mx1 postfix/qmgr[9]: 4B1C2D3E4F: from=<joe@example.com>, size=900, nrcpt=2 (queue active)
Sep  1 08:00:01 mx1 postfix/smtp[80]: 4B1C2D3E4F: to=<ann@far.example>, relay=mx.far.example[203.0.113.4]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx.far.example[203.0.113.4] said: 550 5.1.1 no such user (in reply to RCPT TO command))
Sep  1 08:00:01 mx1 postfix/smtp[80]: 4B1C2D3E4F: to=<bob@far.example>, relay=none, delay=1, delays=0/0/0/1, dsn=4.4.1, status=deferred (connect to mx.far.example[203.0.113.4]:25: Connection timed out)
Sep  1 08:00:01 mx1 postfix-out/smtp[80]: 4B1C2D3E4F: to=<eve@far.example>, relay=mx.far.example[203.0.113.4]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)
2026-09-06T08:00:01.5+02:00 mx1 postfix/qmgr[9]: 3bZrR26Tqlz9: from=<x@example.com>, status=expired, returned to sender
Sep  1 08:00:02 mx1 postfix/qmgr[9]: 4B1C2D3E4F: removed
"""  # noqa: E501
EXIM = b"""\
2026-09-01 08:00:00 1tABcd-000000005Xy-0abc <= joe@example.com H=pc [192.0.2.7] P=esmtpsa X=TLS1.3 A=dovecot_plain:joe@example.com S=900 id=one@example.com
2026-09-01 08:00:01 1tABcd-000000005Xy-0abc ** ann@far.example R=dnslookup T=remote_smtp H=mx.far.example [203.0.113.4]: SMTP error from remote mail server after RCPT TO:<ann@far.example>: 550 5.1.1 no such user
2026-09-01 08:00:01 [123] 1tABcd-000000005Xy-0abc == bob@far.example R=dnslookup T=remote_smtp defer (-44) H=mx.far.example [203.0.113.4]: SMTP error from remote mail server after RCPT TO:<bob@far.example>: 451 greylisted
2026-09-01 08:00:01 1tABcd-000000005Xy-0abc => eve@far.example R=dnslookup T=remote_smtp H=mx.far.example [203.0.113.4] C="250 ok"
2026-09-01 08:00:01 1abcDE-0001Zz-Ab ** carl@far.example: Unrouteable address
2026-09-01 08:00:02 1tABcd-000000005Xy-0abc Completed
"""  # noqa: E501
SENDMAIL = b"""\
Sep  1 08:00:00 mx1 sm-mta[77]: 6816000a012345: from=<joe@example.com>, size=900, class=0, nrcpts=2, msgid=<one@example.com>, proto=ESMTPSA, daemon=MSA, relay=pc [192.0.2.7]
Sep  1 08:00:01 mx1 sm-mta[79]: 6816000a012345: to=<ann@far.example>,<amy@far.example>, ctladdr=<joe@example.com> (1000/1000), delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=120, relay=mx.far.example. [203.0.113.4], dsn=5.1.1, stat=User unknown
Sep  1 08:00:01 mx1 sm-mta[79]: 6816000a012345: to=<bob@far.example>, delay=00:00:01, mailer=esmtp, pri=120, relay=mx.far.example. [203.0.113.4], dsn=4.0.0, stat=Deferred: Connection timed out with mx.far.example.
Sep  1 08:00:01 mx1 sm-mta[79]: 6816000a012345: to=<eve@far.example>, delay=00:00:01, mailer=esmtp, relay=mx.far.example. [203.0.113.4], dsn=2.0.0, stat=Sent (ok)
"""  # noqa: E501


def outcomes(read, block):
    found = list(Reader(read).block(block, NOW))
    return (
        {(one.queue_id, one.message_id, one.login) for one in found if isinstance(one, Arrival)},
        [one for one in found if isinstance(one, Outcome)],
    )


def test_postfix_tells_who_sent_and_what_failed():
    """Arrivals by login and Message-ID; failures with the receiver's words; what was delivered is no news."""
    arrivals, failed = outcomes(postfix, POSTFIX)

    assert arrivals == {("4B1C2D3E4F", "", "joe@example.com"), ("4B1C2D3E4F", "one@example.com", "")}
    ann, bob = failed
    assert (ann.recipient, ann.status, ann.enhanced, ann.relay) == (
        "ann@far.example",
        "bounced",
        "5.1.1",
        "mx.far.example",
    )
    assert ann.reply.startswith("host mx.far.example[203.0.113.4] said: 550 5.1.1")
    assert ann.at == datetime(2026, 9, 1, 8, 0, 1, tzinfo=UTC).timestamp()
    assert (bob.recipient, bob.status, bob.relay) == ("bob@far.example", "deferred", "")


def test_exim_tells_who_sent_and_what_failed():
    """With old and new message ids, with and without process ids."""
    arrivals, failed = outcomes(exim, EXIM)

    assert arrivals == {("1tABcd-000000005Xy-0abc", "one@example.com", "joe@example.com")}
    assert [(one.recipient, one.status, one.relay) for one in failed] == [
        ("ann@far.example", "bounced", "mx.far.example"),
        ("carl@far.example", "bounced", ""),
        ("bob@far.example", "deferred", "mx.far.example"),
    ]
    assert failed[0].reply.endswith("550 5.1.1 no such user")
    assert failed[1].reply == "Unrouteable address"


def test_sendmail_tells_who_sent_and_what_failed():
    """Recipients of one line share their fate."""
    arrivals, failed = outcomes(sendmail, SENDMAIL)

    assert arrivals == {("6816000a012345", "one@example.com", "")}
    assert [(one.recipient, one.status, one.enhanced) for one in failed] == [
        ("ann@far.example", "bounced", "5.1.1"),
        ("amy@far.example", "bounced", "5.1.1"),
        ("bob@far.example", "deferred", "4.0.0"),
    ]


def test_december_is_last_year_in_january():
    """Times of syslog have no year; what would lie ahead is past."""
    line = POSTFIX.splitlines()[3].replace(b"Sep  1", b"Dec 31")
    january = datetime(2027, 1, 1, 1, tzinfo=UTC).timestamp()

    (one,) = Reader(postfix).block(line, january)

    assert one.at == datetime(2026, 12, 31, 8, 0, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("name", FORMATS)
@given(block=st.binary(max_size=2000) | st.sampled_from([POSTFIX, EXIM, SENDMAIL]).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.binary(max_size=20)).map(
        lambda cut: text[: cut[0]] + cut[1] + text[cut[0] :]
    )
))  # fmt: skip
def test_any_bytes_are_read(name, block):
    """Logs hold whatever strangers send."""
    for one in Reader(FORMATS[name]).block(block, NOW):
        assert isinstance(one, Arrival | Outcome)


def test_a_log_is_read_faster_than_it_is_written():
    """Hundreds of thousands of lines a minute must not be felt; here at least 50,000 a second of CPU time."""
    block = POSTFIX * 5000
    began = time.process_time()

    count = sum(1 for _ in Reader(postfix).block(block, NOW))

    assert count == 4 * 5000
    assert block.count(b"\n") / (time.process_time() - began) > 50_000
