"""What rspamd, spamd and clamd say is understood or refused, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model import Connection, Envelope, Opinion, Submission
from penstock.protocols import clamd, rspamd_client, spamd

GOOD = {
    spamd.read_reply: b"SPAMD/1.1 0 EX_OK\r\nContent-length: 12\r\nSpam: True ; 7.4 / 5.0\r\n\r\nBAYES_99,URIBL\r\n",
    clamd.read_reply: b"stream: Win.Test.EICAR FOUND\0",
    rspamd_client.read_reply: b"HTTP/1.1 200 OK\r\nContent-Length: 86\r\n\r\n"
    b'{"score": 7.4, "required_score": 15, "symbols": {"A": {"score": 1}, "B": {"score":7}}}',
}


def test_replies_are_understood():
    """Score, what is required, rules by weight; a virus by name."""
    spam, virus, rspamd = (read(data) for read, data in GOOD.items())

    assert spam == Opinion("spamassassin", 7.4, 5.0, ("BAYES_99", "URIBL"))
    assert virus == Opinion("clamav", found="Win.Test.EICAR")
    assert rspamd == Opinion("rspamd", 7.4, 15.0, ("B", "A"))
    assert clamd.read_reply(b"stream: OK\0") == Opinion("clamav")


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (spamd.read_reply, b"SPAMD/1.0 76 Bad header line: hi\r\n\r\n"),
        (spamd.read_reply, b"SPAMD/1.1 0 EX_OK\r\n\r\n"),
        (spamd.read_reply, b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; nan / 5.0\r\n\r\n"),
        (clamd.read_reply, b"INSTREAM size limit exceeded. ERROR\0"),
        (clamd.read_reply, b"stream: Can't allocate memory ERROR\0"),
        (clamd.read_reply, b"stream: OK"),
        (rspamd_client.read_reply, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}"),
        (rspamd_client.read_reply, b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}"),
        (rspamd_client.read_reply, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        (rspamd_client.read_reply, b'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{"score": 1, "is_skipped":true}'),
        (rspamd_client.read_reply, b""),
    ],
)
def test_what_is_no_answer_is_a_fault(read, data):
    """It says what came instead."""
    with pytest.raises(ValueError, match=r"rspamd|spamd|clamd"):
        read(data)


@pytest.mark.parametrize("read", GOOD)
@given(data=st.data())
def test_garbage_is_refused(read, data):
    """Bytes from anywhere, and good replies with a part changed or cut, are an opinion or a ValueError."""
    good = GOOD[read]
    at = data.draw(st.integers(0, len(good)))
    garbage = data.draw(st.sampled_from([b"", good[:at]])) + data.draw(st.binary(max_size=200))
    try:
        assert isinstance(read(garbage + data.draw(st.sampled_from([b"", good[at:]]))), Opinion)
    except ValueError:
        return


def test_requests_carry_what_is_known_and_nothing_that_breaks_the_line():
    """A login with a line end in it starts no header of its own."""
    connection = Connection(client_ip="192.0.2.7", login="joe\r\nRcpt: x@y")
    one = Submission("id1", 0.0, connection, Envelope("", ("a@b.example",)), b"Subject: x\r\n\r\nhi\r\n")
    head = rspamd_client.check_request(one, "secret").partition(b"\r\n\r\n")[0].decode().split("\r\n")

    assert head[0] == "POST /checkv2 HTTP/1.1"
    assert {"From: <>", "Rcpt: a@b.example", "IP: 192.0.2.7", "User: joeRcpt: x@y", "Password: secret"} <= set(head)
    assert spamd.check_request(b"abc", "joe") == b"SYMBOLS SPAMC/1.5\r\nContent-length: 3\r\nUser: joe\r\n\r\nabc"
    assert clamd.stream_request(b"abc") == b"zINSTREAM\0\0\0\0\3abc\0\0\0\0"
