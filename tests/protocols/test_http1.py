"""HTTP and RSPAMC readers: the same requests in any pieces, bounds that hold, garbage that is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.http1 import Bounds, HttpReader, RequestError, RspamcReader, response, speaks_rspamc

POST = (
    b"POST /checkv2?From=q@example.com&flags= HTTP/1.1\r\nHost: x\r\nRcpt: a@x.example\r\nRCPT: b@x.example\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)
CHUNKED = (
    b"POST /check HTTP/1.1\r\nHost: x\r\nUser:\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2\r\nlo\r\n0\r\nUser: trailer\r\n\r\n"
)
RSPAMC = (
    b"CHECK RSPAMC/1.3\r\nContent-length: 5\r\nQueue-Id: 1a-b\r\nFrom: <joe@example.com>\r\nRecipient-Number: 1\r\n"
    b"Rcpt: <a@x.example>\r\n\r\nhello"
)


def requests(reader, data, step=None):
    found = []
    for at in range(0, len(data), step or max(1, len(data))):
        reader.receive(data[at : at + (step or len(data))])
        while (request := reader.next_request()) is not None:
            found.append(request)
    return found


@pytest.mark.parametrize("step", [None, 1, 7])
def test_requests_of_one_connection(step):
    """Two requests behind each other, by length and in chunks; the query counts as headers, trailers do not."""
    first, second = requests(HttpReader(Bounds()), POST + CHUNKED, step)

    assert (first.method, first.path, first.body, first.keep_alive) == ("POST", "/checkv2", b"hello", True)
    assert [value for name, value in first.headers if name == "rcpt"] == ["a@x.example", "b@x.example"]
    assert first.header("from") == "q@example.com"
    assert (second.path, second.body, second.header("user"), second.header("none")) == ("/check", b"hello", "", "")


def test_old_clients_are_not_kept():
    """HTTP/1.0, or `Connection: close`."""
    (old,) = requests(HttpReader(Bounds()), b"GET /ping HTTP/1.0\r\n\r\n")
    (closing,) = requests(HttpReader(Bounds()), b"GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert not old.keep_alive
    assert not closing.keep_alive


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"EHLO there\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"POST /checkv2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /checkv2 HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /checkv2 HTTP/1.1\r\nContent-Length: 101\r\n\r\n", 413),
        (b"POST /checkv2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101, 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 3000, 431),
        (b"GET /" + b"x" * 3000, 431),
        (b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 400),
        (b"GET /?" + b"a&" * 1001 + b" HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: " + b"y" * 3000, 431),
    ],
)
@pytest.mark.parametrize("step", [None, 11])
def test_what_is_refused(data, status, step):
    """Not HTTP, ambiguous lengths, too large by announcement or by count; each with its status."""
    with pytest.raises(RequestError) as caught:
        requests(HttpReader(Bounds(max_body_bytes=100, max_head_bytes=2100)), data, step)
    assert caught.value.status == status
    assert str(caught.value)


def test_a_client_that_waits_to_be_asked():
    """`Expect: 100-continue` is seen before the body comes."""
    reader = HttpReader(Bounds())
    reader.receive(b"POST /checkv2 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")

    assert reader.expects_continue
    assert reader.is_under_way
    assert [one.body for one in requests(reader, b"hi")] == [b"hi"]


@pytest.mark.parametrize("step", [None, 1, 7])
def test_what_exim_sends(step):
    """One request; what follows it is not read."""
    reader = RspamcReader(Bounds())
    (request,) = requests(reader, RSPAMC + b"more", step)

    assert (request.method, request.path, request.body, request.is_rspamc) == ("CHECK", "/check", b"hello", True)
    assert request.header("rcpt") == "<a@x.example>"
    assert (reader.size_bytes, reader.is_under_way) == (0, False)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"CHECK RSPAMC/1.3\r\n\r\n", 411),
        (b"CHECK RSPAMC/1.3\r\nContent-length: many\r\n\r\n", 411),
        (b"CHECK RSPAMC/1.3\r\nContent-length: \xd9\xa3\r\n\r\n", 411),
        (b"CHECK RSPAMC/1.3\r\nContent-length: 101\r\n\r\n", 413),
        (b"CHECK RSPAMC/1.3\r\n" + b"A: b\r\n" * 400, 431),
        (b"CHECK SPAMC/1.3\r\n\r\n", 400),
    ],
)
def test_what_is_refused_of_the_line_protocol(data, status):
    """No length, too large, not RSPAMC."""
    with pytest.raises(RequestError) as caught:
        requests(RspamcReader(Bounds(max_body_bytes=100, max_head_bytes=2000)), data, 13)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (b"", None),
        (b"CHECK RSP", None),
        (b"CHECK RSPAMC/1.3\r\n", True),
        (b"SYMBOLS RSPAMC/1.2\n", True),
        (b"POST /check HTTP/1.1\r\n", False),
        (b"GET /" + b"x" * 70, False),
        (b"GET / RSPAMC/1.3 HTTP/1.1\r\n", False),
    ],
)
def test_two_protocols_are_told_apart(begin, told):
    """By the first line; where that is long it is HTTP."""
    assert speaks_rspamc(begin) is told


def test_a_response_is_framed():
    """Status line, type, length, and whether the connection stays."""
    text = response(200, b"pong", "text/plain", keep_alive=True).decode()

    assert text.startswith("HTTP/1.1 200 OK\r\n")
    assert "Content-Length: 4\r\nConnection: keep-alive\r\n\r\npong" in text
    assert b"Connection: close" in response(999, b"", "text/plain")


@given(st.binary(max_size=300), st.integers(1, 40), st.sampled_from([HttpReader, RspamcReader]))
def test_garbage_is_refused_or_waits(data, step, kind):
    """After any beginning: requests, silence or RequestError; never more kept than allowed."""
    for begin in (b"", POST, CHUNKED[:60], RSPAMC[:40]):
        reader = kind(Bounds(max_body_bytes=100, max_head_bytes=400))
        with contextlib.suppress(RequestError):
            requests(reader, begin + data, step)
        assert reader.size_bytes <= 500


@given(st.binary(max_size=60), st.integers(1, 30), st.booleans())
def test_bodies_come_through_as_sent(body, step, is_chunked):
    """Any bytes, in any pieces."""
    if is_chunked:
        framed = b"Transfer-Encoding: chunked\r\n\r\n"
        framed += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    else:
        framed = b"Content-Length: %d\r\n\r\n" % len(body) + body

    (request,) = requests(HttpReader(Bounds()), b"POST /checkv2 HTTP/1.1\r\n" + framed, step)
    assert request.body == body
