"""What comes back is handed in by LMTP: taken, refused or put off, and never swallowed."""

import asyncio
import contextlib
import ipaddress
from functools import partial

import aiosmtplib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.workers.follower import made
from tests.workers.test_feedback import JOE, NOW, ONE, bounces, judged, row

from neighbours.postfix import PeerSink, Postfix
from penstock.listeners.lmtp import LmtpListener, LmtpSettings
from penstock.model import Reply
from penstock.store.memory import MemoryStore
from penstock.store.ports import StoreUnavailable
from penstock.workers.intake import handed_in

HERE = (ipaddress.ip_network("127.0.0.0/8"),)
BOUNCE = b"""From: MAILER-DAEMON@far.example
To: bounces@example.com
Subject: Undelivered Mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.far.example

Final-Recipient: rfc822; ann@far.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b
Content-Type: text/rfc822-headers

Message-ID: <one@example.com>
From: joe@example.com

--b--
""".replace(b"\n", b"\r\n")
LETTER = b"From: a@far.example\r\nTo: bounces@example.com\r\nSubject: hello\r\n\r\nWhat is this?\r\n"


@contextlib.asynccontextmanager
async def listening(take, networks=HERE, **more):
    """A listener that does `take` with each message."""
    counts = []
    listener = LmtpListener(LmtpSettings("mx.example", ("127.0.0.1:0",), networks, **more), take, count=counts.append)
    await listener.start()
    try:
        yield listener, int(listener.addresses[0].rpartition(":")[2])
    finally:
        await listener.stop(1.0)


async def converse(port, data):
    """Everything that is said to some bytes."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        said = await reader.read()
        writer.close()
        return said.decode().splitlines()


def session(raw, *recipients):
    """A whole session, pipelined."""
    to = b"".join(b"RCPT TO:<%b>\r\n" % one.encode() for one in recipients or ["bounces@example.com"])
    return b"LHLO me\r\nMAIL FROM:<>\r\n" + to + b"DATA\r\n" + raw + b".\r\nQUIT\r\n"


async def test_a_real_postfix_hands_in_bounces_and_keeps_what_cannot_be_taken_now():
    """By its transport map: a bounce counts, though the store is away at first; a letter is returned."""
    store = MemoryStore(now=lambda: NOW)
    await judged(store, row(ONE))
    _, feedback = made(store, now=lambda: NOW)
    troubles, told = [StoreUnavailable("away")], []

    async def take(raw):
        if troubles:
            raise troubles.pop()
        reply = await handed_in(raw, feedback)
        told.append(reply.code)
        return reply

    async with listening(take) as (_, port), PeerSink() as sink:
        here = f"bounces@example.com = lmtp:inet:127.0.0.1:{port}"
        main = f"transport_maps = inline:{{ {{ {here} }}, {{ * = discard: }} }}\n"
        main += "mynetworks = 127.0.0.0/8\nsmtpd_milters =\nnon_smtpd_milters =\n"
        master = "lmtp unix - - n - - lmtp\n"
        async with Postfix(sink=sink.address, main=main, master=master) as postfix:
            client = aiosmtplib.SMTP(hostname="127.0.0.1", port=postfix.port, start_tls=False, timeout=20)
            async with client:
                for raw in (BOUNCE, LETTER):
                    await client.sendmail("a@far.example", ["bounces@example.com"], raw)
            async with asyncio.timeout(30):
                while len(told) < 2:
                    await asyncio.sleep(0.05)

    assert sorted(told) == [250, 550]
    assert await bounces(store, JOE) == 1


@pytest.mark.parametrize(
    ("take", "code"),
    [(Reply(250, "2.0.0", "Ok"), "250"), (Reply(550, "5.6.0", "neither"), "550"), (StoreUnavailable("away"), "451")],
)
async def test_each_recipient_hears_what_became_of_the_message(take, code):
    """Taken, not meant for this place, or to be tried again."""

    async def take_it(raw):
        if isinstance(take, Exception):
            raise take
        return take

    async with listening(take_it) as (_, port):
        said = await converse(port, session(LETTER, "a@example.com", "b@example.com"))

    codes = [line[:3] for line in said if line[3:4] == " "]
    assert codes == ["220", "250", "250", "250", "250", "354", code, code, "221"]


async def test_strangers_hand_in_nothing():
    """Who may say that mail bounced could have anybody suspended."""
    taken = []
    async with listening(taken.append, networks=(ipaddress.ip_network("192.0.2.0/24"),)) as (_, port):
        said = await converse(port, session(LETTER))

    assert "550 5.7.1 Not for you" in said
    assert not taken


async def test_one_that_stalls_is_let_go_and_its_neighbours_are_served():
    """A silent client holds a connection for the idle time, and no more."""

    async def take(raw):
        return Reply(250, "2.0.0", "Ok")

    async with listening(take, idle_s=0.3) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert "250 2.0.0 Ok" in await converse(port, session(LETTER))
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"220")
        writer.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.lists(st.sampled_from(session(BOUNCE).splitlines(keepends=True))).map(b"".join))
def test_garbage_ends_in_a_reply_or_a_goodbye(data):
    """Whatever comes, the session ends with the connection and takes nothing twice."""

    async def take(raw):
        return Reply(250, "2.0.0", "Ok")

    async def work():
        async with listening(take) as (_, port):
            return await converse(port, data)

    said = asyncio.run(work())
    assert said[0].startswith("220 ")
    assert all(line[:3].isdigit() for line in said)


async def test_what_is_taken_in_and_what_is_not():
    """A bounce, an automatic answer and a letter."""
    _, feedback = made(MemoryStore(now=lambda: NOW), now=lambda: NOW)
    take = partial(handed_in, feedback=feedback)

    assert (await take(BOUNCE)).code == 250
    assert (await take(b"Auto-Submitted: auto-replied\r\n" + LETTER)).code == 250
    assert (await take(LETTER)).code == 550
