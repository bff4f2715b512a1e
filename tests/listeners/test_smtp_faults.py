"""The relay under load and trouble: clients that stall, flood or leave, a next hop that goes away in the middle."""

import asyncio
import contextlib
import socket
import ssl
import time

import psutil
import pytest
from tests.listeners.gate import FakeGate
from tests.listeners.test_smtp import LETTER, MAIL, Client, relay
from tests.neighbours.sink import Sink

from penstock.clients.next_hop import NextHopSettings, SmtpNextHop
from penstock.model import Action, Admission


async def test_no_recipient_is_lost_when_the_next_hop_drops_between_two():
    """Who was accepted before the drop is not left out: the whole message is put off."""
    async with Sink() as sink, relay(sink) as listener:
        seen = []

        def fail(stage, number):
            seen.append(stage)
            return "drop" if stage == "rcpt" and seen.count("rcpt") == 2 else ""

        sink._fail = fail
        client = await Client.to(listener)
        await client.say("EHLO me")
        await client.say("MAIL FROM:<joe@example.com>")
        codes = [(await client.say(f"RCPT TO:<r{n}@example.org>"))[0] for n in range(4)]
        assert codes == [250, 451, 451, 451]
        assert (await client.say("DATA"))[0] == 354
        assert (await client.say(LETTER + b".\r\n"))[0] == 451
        assert sink.messages == []
        assert (await client.send())[0] == 250
        assert [rcpts for _, rcpts, _ in sink.messages] == [("ann@example.org",)]


async def test_a_whole_session_in_one_packet():
    """Two messages pipelined, QUIT behind: each question answered in order."""
    session = MAIL + LETTER + b".\r\n" + MAIL.partition(b"\r\n")[2] + LETTER + b".\r\nQUIT\r\n"
    async with Sink() as sink, relay(sink) as listener:
        client = await Client.to(listener)
        codes = [code for code, _ in await client.say(session, 10)]

        assert codes == [250, 250, 250, 354, 250, 250, 250, 354, 250, 221]
        assert (await client.reply())[0] == 0
        assert len(sink.messages) == 2


async def test_a_next_hop_that_stalls_is_told_in_time_and_others_go_on():
    """A slow answer of one message is waited for alone."""

    async def never(reader, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(b"220 hi\r\n")
            await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pools = {"slow": SmtpNextHop(NextHopSettings(address, "x", connect_s=0.5))}
    gate = FakeGate()
    async with Sink() as sink, relay(sink, gate, pools=pools) as listener:
        slow, other = await Client.to(listener), await Client.to(listener)
        gate.admission, began = Admission(None, "slow"), time.monotonic()
        sending = asyncio.create_task(slow.say(MAIL, 4))
        await asyncio.sleep(0.1)
        gate.admission = Admission()
        assert (await other.send())[0] == 250
        assert time.monotonic() - began < 0.5
        assert [code for code, _ in await sending] == [250, 250, 451, 554]
    server.close()


async def test_a_gigabyte_is_refused_in_bounded_memory_while_others_are_served():
    """Bytes past the limit are dropped as they come."""
    process, block = psutil.Process(), b"x" * 998 + b"\r\n"
    block *= 1000
    async with Sink() as sink, relay(sink, max_message_bytes=20_000_000) as listener:
        huge = await Client.to(listener)
        assert (await huge.say(MAIL, 4))[-1][0] == 354
        before = process.memory_info().rss
        waits, peak = [], 0
        for n in range(1074):  # 2**30 bytes
            huge.writer.write(block)
            await huge.writer.drain()
            if n % 50 == 0:
                other, began = await Client.to(listener), time.process_time()
                assert (await other.send())[0] == 250
                waits.append(time.process_time() - began)  # all ends are in this process
                await other.close()
                peak = max(peak, process.memory_info().rss)
        huge.writer.write(b".\r\n")

        assert (await huge.reply())[0] == 552
        assert len(sink.messages) == len(waits)
        assert peak - before < 80_000_000
        assert max(waits) < 1.0
        assert listener.room.used_bytes == 0


async def test_a_client_that_reads_no_replies_fills_no_memory():
    """Its commands stay in its own socket until it reads, and its time runs out."""
    counts = []
    async with Sink() as sink, relay(sink, idle_s=1.0, counts=counts) as listener:
        host, _, port = listener.addresses[0].rpartition(":")
        sock = socket.create_connection((host, int(port)))
        sock.setblocking(False)
        sent, until = 0, time.monotonic() + 20
        while listener.sessions._open or not sent:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sent += sock.send(b"HELP\r\n" * 10_000)
            await asyncio.sleep(0.001)
            assert time.monotonic() < until
        sock.close()

        assert "smtp-timeouts" in counts
        assert sent < 40_000_000


async def test_a_handshake_that_fails_leaves_nothing_behind(certificate):
    """Neither a client counted for ever nor a session."""
    counts = []
    more = {"certificate": certificate[0], "key": certificate[1], "counts": counts}
    async with Sink() as sink, relay(sink, **more) as listener:
        for goodbye in (b"this is no TLS at all\r\n\r\n" * 10, b""):
            client = await Client.to(listener)
            await client.say("EHLO me")
            assert (await client.say("STARTTLS"))[0] == 220
            client.writer.write(goodbye)
            client.writer.close()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not listener.sessions._open:
                break

        assert not listener.sessions._open
        assert not listener.per_client
        assert counts.count("smtp-tls-failures") == 2
        assert (await (await Client.to(listener)).send())[0] == 250


async def test_garbage_is_answered_and_ended():
    """A TLS hello, HTTP, binary: the session ends by itself and others are served."""
    async with Sink() as sink, relay(sink) as listener:
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
            b"\0\r\n" * 30,
        ):
            client = await Client.to(listener)
            client.writer.write(garbage)
            code = 1
            while code:
                code, _ = await client.reply()
                assert code == 0 or 400 <= code < 600
        assert (await (await Client.to(listener)).send())[0] == 250


async def test_clients_that_leave_at_any_point_leave_nothing_behind():
    """After each prefix of a session: no connection, no bytes, no transaction, and at most one message each."""
    session = MAIL + LETTER + b".\r\nQUIT\r\n"
    async with Sink() as sink, relay(sink) as listener:
        for length in range(0, len(session), 7):
            client = await Client.to(listener)
            client.writer.write(session[:length])
            await client.writer.drain()
            client.writer.transport.abort()
        for _ in range(200):
            await asyncio.sleep(0.02)
            if not listener.sessions._open and not listener.sessions._tasks:
                break

        assert not listener.sessions._open
        assert not listener.per_client
        assert listener.room.used_bytes == 0
        assert all(raw.endswith(b"\r\n\r\nHi\r\n") for _, _, raw in sink.messages)
        assert (await (await Client.to(listener)).send())[0] == 250


async def test_stopping_breaks_off_who_never_ends():
    """A client stalled in DATA is told 421 when the grace is over, and nothing of it is delivered."""
    async with Sink() as sink, relay(sink) as listener:
        client = await Client.to(listener)
        await client.say(MAIL, 4)
        client.writer.write(b"Subject: never ends\r\n")
        began = time.monotonic()
        await listener.stop(0.3)

        assert 0.2 < time.monotonic() - began < 2
        assert (await client.reply())[0] == 421
        assert sink.messages == []


async def test_a_judge_that_breaks_is_no_250():
    """A fault of ours ends the session with 421; the client comes again; nothing is open at the next hop."""

    class Broken(FakeGate):
        async def judge(self, submission):
            raise RuntimeError("a fault of ours")

    counts = []
    async with Sink() as sink, relay(sink, Broken(), counts=counts) as listener:
        client = await Client.to(listener)
        assert (await client.send())[0] in (0, 421)
        async with asyncio.timeout(10):
            while sink.commands[-1] != "RSET":
                await asyncio.sleep(0.02)

        assert "smtp-failures" in counts
        assert sink.messages == []
        assert listener.room.used_bytes == 0


@pytest.mark.parametrize("action", [Action.THROTTLE, Action.REJECT, Action.HOLD])
async def test_what_is_not_accepted_ends_the_transaction_at_the_next_hop(action):
    """RSET, and the connection serves the next message."""
    async with Sink() as sink, relay(sink, FakeGate(action)) as listener:
        client = await Client.to(listener)
        for _ in range(3):
            await client.send()

        assert sink.commands.count("RSET") == 3
        assert sink.connections == 1
        assert sink.messages == []


async def test_a_large_message_arrives_whole():
    """Checked, rewritten and sent in blocks; each byte as it was."""
    body = b"".join(b"." * (n % 4) + b"line %d " % n + b"x" * (n % 90) + b"\r\n" for n in range(200_000))
    async with Sink() as sink, relay(sink) as listener:
        client = await Client.to(listener)
        await client.say(MAIL, 4)
        client.writer.write((b"Subject: x\r\n\r\n" + body.replace(b"\r\n.", b"\r\n..")) + b".\r\n")
        assert (await client.reply())[0] == 250
        assert sink.messages[0][2].partition(b"\r\n\r\n")[2] == body


async def test_tls_connections_are_ended_in_time_too(certificate):
    """Idle behind TLS: 421 inside it."""
    more = {"certificate": certificate[0], "key": certificate[1], "listen_tls": ("127.0.0.1:0",), "idle_s": 0.5}
    async with Sink() as sink, relay(sink, **more) as listener:
        host, _, port = listener.addresses[-1].rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = Client(*await asyncio.open_connection(host, int(port), ssl=context))
        assert (await client.reply())[0] == 220
        assert (await client.reply())[0] == 421
        await client.close()
