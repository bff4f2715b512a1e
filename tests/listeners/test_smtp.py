"""The relay against a real socket on both sides: in step, strict, never open, and nothing lost or doubled."""

import asyncio
import base64
import ipaddress
import itertools
import ssl
import time
from contextlib import asynccontextmanager

import pytest
import uvloop
from tests.listeners.gate import FakeGate
from tests.neighbours.sink import Sink

from penstock.clients.login import PasswordFile, hash_password
from penstock.clients.next_hop import NextHopSettings, SmtpNextHop
from penstock.listeners.smtp import SmtpListener, SmtpSettings
from penstock.model import Action, Reply, make_id

LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)
numbers = itertools.count()
MAIL = b"EHLO me\r\nMAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
LETTER = b"From: joe@example.com\r\nX-Secret: yes\r\n folded\r\nSubject: hello\r\n\r\nHi\r\n"


@asynccontextmanager
async def relay(sink, gate=None, *, pools=None, login=None, counts=None, **settings):
    given = {"trusted_networks": LOCAL, "forwarding_hosts": LOCAL} | settings
    hop = SmtpNextHop(
        NextHopSettings(sink if isinstance(sink, str) else sink.address, "relay.example", command_s=3.0, data_s=3.0)
    )
    listener = SmtpListener(
        SmtpSettings("relay.example", ("127.0.0.1:0",), **given),
        gate or FakeGate(),
        hop,
        pools or {},
        login=login,
        count=(counts if counts is not None else []).append,
        now=time.time,
        new_id=lambda now: make_id(now, next(numbers)),
    )
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop(1.0)
        await hop.close()
        for other in (pools or {}).values():
            await other.close()


class Client:
    """A client that sees every reply line."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, listener):
        host, _, port = listener.addresses[0].rpartition(":")
        client = cls(*await asyncio.open_connection(host, int(port)))
        assert (await client.reply())[0] == 220
        return client

    async def reply(self):
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 10)).decode()
            if not line:
                return 0, ""
            lines.append(line[4:].rstrip())
            if line[3:4] != "-":
                return int(line[:3]), " ".join(lines)

    async def say(self, text, replies=1):
        self.writer.write(text if isinstance(text, bytes) else text.encode() + b"\r\n")
        return [await self.reply() for _ in range(replies)] if replies != 1 else await self.reply()

    async def send(self, letter=LETTER):
        answers = await self.say(MAIL, 4)
        if answers[-1][0] != 354:
            return next((one for one in answers if one[0] >= 400 or not one[0]), answers[-1])
        return await self.say(letter + b".\r\n")

    async def close(self):
        self.writer.close()


async def test_a_message_goes_through_and_the_250_is_the_next_hops():
    """Headers rewritten, our Received on top, the connection to the next hop used again."""
    gate = FakeGate()
    async with Sink() as sink, relay(sink, gate) as listener:
        client = await Client.to(listener)
        assert (await client.send())[1] == "2.0.0 Ok: queued"
        assert (await client.send())[0] == 250
        assert (await client.say("QUIT"))[0] == 221

        (sender, rcpts, raw), _ = sink.messages
        assert (sender, rcpts) == ("joe@example.com", ("ann@example.org",))
        assert raw.startswith(
            b"Received: from me (unknown [127.0.0.1])\r\n\tby relay.example (Penstock) with ESMTP id "
        )
        assert b"X-Penstock-Ref: token\r\nFrom: joe@example.com\r\nSubject: hello\r\n\r\nHi\r\n" in raw
        assert b"Secret" not in raw
        assert sink.connections == 1
        assert gate.outcomes[0].replies == (("ann@example.org", 250, "Ok: queued"),)
        assert gate.submissions[0].raw == LETTER


async def test_recipients_are_answered_one_by_one_as_the_next_hop_does():
    """A refused recipient is refused, the others get the message."""

    def fail(stage, number):
        return ""

    async with Sink(fail) as sink, relay(sink) as listener:
        sink._fail = lambda stage, n: "550 5.1.1 unknown" if stage == "rcpt" and "bad" in sink.commands[-1] else ""
        client = await Client.to(listener)
        await client.say("EHLO me")
        await client.say("MAIL FROM:<joe@example.com>")
        assert await client.say("RCPT TO:<bad@example.org>") == (550, "5.1.1 unknown")
        assert (await client.say("RCPT TO:<good@example.org>"))[0] == 250
        await client.say("DATA")
        assert (await client.say(LETTER + b".\r\n"))[0] == 250

        assert sink.messages[0][1] == ("good@example.org",)
        assert listener.relaying.gate.outcomes[0].replies[-1] == ("bad@example.org", 550, "unknown")


@pytest.mark.parametrize(
    ("action", "code", "delivered"), [(Action.HOLD, 250, 0), (Action.REJECT, 550, 0), (Action.ACCEPT, 250, 1)]
)
async def test_each_action_is_answered_in_smtps_words(action, code, delivered):
    """Held is 250 with its id and nothing leaves; rejected is the decision's reply."""
    async with Sink() as sink, relay(sink, FakeGate(action)) as listener:
        client = await Client.to(listener)
        answer = await client.send()

        assert answer[0] == code
        assert ("held as" in answer[1]) is (action is Action.HOLD)
        assert len(sink.messages) == delivered
        assert (await client.send())[0] == code


async def test_a_suspended_account_is_refused_at_mail():
    """The gate's own reply, and nothing is opened at the next hop."""
    refusal = Reply(450, "4.7.1", "[PS-SUSPENDED] stopped")
    async with Sink() as sink, relay(sink, FakeGate(refusal=refusal)) as listener:
        client = await Client.to(listener)
        await client.say("EHLO me")

        assert await client.say("MAIL FROM:<joe@example.com>") == (450, "4.7.1 [PS-SUSPENDED] stopped")
        assert sink.connections == 0


async def test_strangers_never_relay():
    """Neither plainly, nor by a login that is wrong, nor by claiming to be somebody else."""
    counts = []
    async with Sink() as sink, relay(sink, trusted_networks=(), forwarding_hosts=(), counts=counts) as listener:
        client = await Client.to(listener)
        ehlo = await client.say("EHLO me")
        await client.say("MAIL FROM:<postmaster@relay.example>")

        assert "XCLIENT" not in ehlo[1]
        assert (await client.say("RCPT TO:<ann@example.org>"))[0] == 554
        assert (await client.say("DATA"))[0] == 554
        assert (await client.say("RSET"))[0] == 250
        assert (await client.say("XCLIENT ADDR=127.0.0.1 LOGIN=joe"))[0] == 550
        assert (await client.say("AUTH PLAIN AGEAYg=="))[0] == 502
        assert sink.connections == 0
    assert "smtp-relay-denied" in counts


async def test_a_forwarded_stranger_needs_a_login():
    """XCLIENT takes the trust of the forwarding host's own address away, and may bring a login."""
    gate = FakeGate()
    async with Sink() as sink, relay(sink, gate) as listener:
        client = await Client.to(listener)
        await client.say("EHLO proxy")
        assert (await client.say("XCLIENT ADDR=198.51.100.9 NAME=[UNAVAILABLE]"))[0] == 220
        assert (await client.send())[0] == 554
        await client.close()
        client = await Client.to(listener)
        await client.say("EHLO proxy")
        assert (await client.say("XCLIENT ADDR=198.51.100.9 LOGIN=joe+40example.com"))[0] == 220
        assert (await client.send())[0] == 250

        connection = gate.submissions[0].connection
        assert (connection.client_ip, connection.peer_ip) == ("198.51.100.9", "127.0.0.1")
        assert connection.login == "joe@example.com"
        assert not connection.is_trusted_peer
        assert b"198.51.100.9" not in sink.messages[0][2]


async def test_xforward_keeps_the_proxys_right_to_relay():
    """A before-queue proxy tells whose client it was and goes on relaying."""
    gate = FakeGate()
    async with Sink() as sink, relay(sink, gate) as listener:
        client = await Client.to(listener)
        await client.say("EHLO proxy")
        assert (await client.say("XFORWARD ADDR=IPV6:2001:db8::9 NAME=home HELO=laptop"))[0] == 250
        assert (await client.send())[0] == 250
        assert gate.submissions[0].connection.client_ip == "2001:db8::9"
        assert gate.submissions[0].connection.is_trusted_peer


async def test_login_after_starttls(certificate, tmp_path):
    """AUTH is offered after TLS only; what was pipelined in the clear is forgotten; the address stays private."""
    (tmp_path / "passwords").write_text(f"joe@example.com:{hash_password('secret')}\n")
    gate = FakeGate()
    login = PasswordFile(tmp_path / "passwords")
    more = {"certificate": certificate[0], "key": certificate[1], "trusted_networks": (), "forwarding_hosts": ()}
    async with Sink() as sink, relay(sink, gate, login=login, **more) as listener:
        client = await Client.to(listener)
        assert "AUTH" not in (await client.say("EHLO me"))[1]
        assert (await client.say("AUTH PLAIN AGEAYg=="))[0] == 530
        assert (await client.say(b"STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n"))[0] == 220
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await client.writer.start_tls(context)
        assert "AUTH PLAIN LOGIN" in (await client.say("EHLO me"))[1]
        wrong = base64.b64encode(b"\0joe@example.com\0wrong").decode()
        assert (await client.say(f"AUTH PLAIN {wrong}"))[0] == 535
        assert (await client.say("AUTH LOGIN"))[0] == 334
        assert (await client.say(base64.b64encode(b"JOE@example.com").decode()))[0] == 334
        assert (await client.say(base64.b64encode(b"secret").decode()))[0] == 235
        assert (await client.send())[0] == 250
        assert gate.submissions[0].connection.login == "joe@example.com"
        assert gate.submissions[0].connection.tls.startswith("TLS")
        assert b"with ESMTPSA" in sink.messages[0][2]
        assert b"127.0.0.1" not in sink.messages[0][2]
        await client.close()


async def test_implicit_tls(certificate):
    """A port where every connection begins with TLS."""
    more = {"certificate": certificate[0], "key": certificate[1], "listen_tls": ("127.0.0.1:0",)}
    async with Sink() as sink, relay(sink, **more) as listener:
        host, _, port = listener.addresses[-1].rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = Client(*await asyncio.open_connection(host, int(port), ssl=context))
        assert (await client.reply())[0] == 220
        assert (await client.send())[0] == 250
        assert b"with ESMTPS id" in sink.messages[0][2]
        await client.close()


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r"])
async def test_smuggling_is_refused(end):
    """Only <CRLF>.<CRLF> ends a message, and bare CR or LF are refused; what follows is no command."""
    smuggled = LETTER + b"x" + end + b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
    async with Sink() as sink, relay(sink) as listener:
        client = await Client.to(listener)
        answer = await client.send(smuggled + b"evil\r\n")

        assert answer[0] == 550
        assert "5.6.11" in answer[1]
        assert sink.messages == []
        assert (await client.send())[0] == 250


async def test_a_message_byte_by_byte_is_the_same_message():
    """Dot-stuffing and the end are found whatever the chunks."""
    letter = b"Subject: x\r\n\r\n..two dots\r\n...\r\n"
    async with Sink() as sink, relay(sink) as listener:
        client = await Client.to(listener)
        for byte in MAIL + letter + b".\r\n":
            client.writer.write(bytes((byte,)))
            await client.writer.drain()
        answers = [await client.reply() for _ in range(5)]

        assert [code for code, _ in answers] == [250, 250, 250, 354, 250]
        assert sink.messages[0][2].endswith(b"\r\n\r\n.two dots\r\n..\r\n")


async def test_sizes_lines_recipients_and_errors_are_bounded():
    """SIZE, counted bytes, a long line, a long command, too many recipients, too many errors."""
    async with (
        Sink() as sink,
        relay(sink, max_message_bytes=4000, max_line_bytes=1000, max_recipients=2, max_errors=9) as listener,
    ):
        client = await Client.to(listener)
        await client.say("EHLO me")
        assert (await client.say("MAIL FROM:<a@example.com> SIZE=5000"))[0] == 552
        assert (await client.send(b"x: y\r\n\r\n" + b"z" * 900 + b"\r\n" + b"y" * 5000 + b"\r\n"))[0] == 552
        assert (await client.send(b"x: y\r\n\r\n" + b"z" * 1500 + b"\r\n"))[0] == 550
        assert (await client.say(b"NOOP " + b"x" * 5000 + b"\r\n"))[0] == 500
        await client.say("MAIL FROM:<a@example.com>")
        codes = [(await client.say(f"RCPT TO:<r{n}@example.org>"))[0] for n in range(3)]
        assert codes == [250, 250, 452]
        await client.say("RSET")
        answers = [await client.say("BOGUS") for _ in range(4)]
        answers.append(await client.reply())
        assert answers[-1][0] in (421, 0)
        assert sink.messages == []


async def test_a_pool_with_its_own_next_hop_gets_the_message():
    """The content's pool wins over the one that was known at MAIL; the first next hop gets nothing."""
    async with Sink() as normal, Sink() as risk:
        pools = {"risk": SmtpNextHop(NextHopSettings(risk.address, "relay.example"))}
        async with relay(normal, FakeGate(pool="risk"), pools=pools) as listener:
            client = await Client.to(listener)
            assert (await client.send())[0] == 250
            assert (len(normal.messages), len(risk.messages)) == (0, 1)
        assert "RSET" in normal.commands


async def test_a_next_hop_that_is_down_is_told_at_once():
    """4xx within the connection's time, no waiting."""
    async with relay("127.0.0.1:1") as listener:
        client = await Client.to(listener)
        began = time.monotonic()
        await client.say("EHLO me")
        await client.say("MAIL FROM:<joe@example.com>")
        code, text = await client.say("RCPT TO:<ann@example.org>")

        assert (code, text[:5]) == (451, "4.4.1")
        assert time.monotonic() - began < 2


STAGES = ("connect", "ehlo", "mail", "rcpt", "data", "before-dot-reply", "dot", "quit")


@pytest.mark.parametrize("stage", STAGES)
async def test_a_next_hop_that_drops_connections_loses_and_doubles_nothing(stage):
    """At each stage in turn every third connection is dropped; who was told 250 is there once, and only those."""
    turn = itertools.count(1)

    def fail(at, number):
        return "drop" if at == stage and next(turn) % 3 == 0 else ""

    async with Sink(fail) as sink, relay(sink) as listener:
        told = {}

        async def one(number):
            client = await Client.to(listener)
            code, _ = await client.send(f"Subject: n{number}\r\n\r\nbody\r\n".encode())
            told[number] = code
            await client.close()

        for start in range(0, 30, 10):
            await asyncio.gather(*(one(number) for number in range(start, start + 10)))

        arrived = [int(raw.partition(b"Subject: n")[2].partition(b"\r\n")[0]) for _, _, raw in sink.messages]
        assert len(arrived) == len(set(arrived))
        good = {number for number, code in told.items() if code == 250}
        assert good <= set(arrived)
        assert all(code == 250 or 400 <= code < 500 for code in told.values())
        if stage != "dot":  # dropped after it took the message: the client comes again, as SMTP has it
            assert set(arrived) == good


async def test_two_hundred_clients_at_once_and_a_stalled_one():
    """Everybody is served while one client hangs in DATA, and another sends without end."""
    async with Sink() as sink, relay(sink, max_message_bytes=100_000, max_connections_per_client=1000) as listener:
        stalled = await Client.to(listener)
        await stalled.say(MAIL, 4)
        stalled.writer.write(b"Subject: never ends\r\n")

        async def endless():
            client = await Client.to(listener)
            await client.say(MAIL, 4)
            for _ in range(400):
                client.writer.write(b"x" * 78 + b"\r\n" * 1 + b"y" * 100_000)
                await client.writer.drain()
            client.writer.write(b"\r\n.\r\n")
            return (await client.reply())[0]

        async def one(number):
            client = await Client.to(listener)
            codes = [(await client.send(f"Subject: {number}.{n}\r\n\r\nx\r\n".encode()))[0] for n in range(3)]
            await client.close()
            return codes

        *results, huge = await asyncio.gather(*(one(number) for number in range(200)), endless())

        assert all(codes == [250] * 3 for codes in results)
        assert huge == 552
        assert len(sink.messages) == 600
        assert listener.room.used_bytes < 200
        await stalled.close()
        await asyncio.sleep(0.05)
        assert listener.room.used_bytes == 0


async def test_memory_in_flight_is_bounded():
    """Beyond the room that all share, a message is put off, not kept."""
    async with Sink() as sink, relay(sink, in_flight_bytes=10_000) as listener:
        client = await Client.to(listener)
        assert (await client.send(b"Subject: x\r\n\r\n" + b"y\r\n" * 10_000))[0] == 452
        assert (await client.send())[0] == 250
        assert listener.room.used_bytes == 0


async def test_silence_and_long_sessions_end_with_421():
    """Idle time and session time, told to the client."""
    async with Sink() as sink, relay(sink, idle_s=0.5) as listener:
        client = await Client.to(listener)
        assert (await client.reply())[0] == 421


async def test_too_many_connections_of_one_client():
    """The client's own limit, and it frees with the connection."""
    async with Sink() as sink, relay(sink, max_connections_per_client=2) as listener:
        first, _second = await Client.to(listener), await Client.to(listener)
        host, _, port = listener.addresses[0].rpartition(":")
        third = Client(*await asyncio.open_connection(host, int(port)))
        assert (await third.reply())[0] == 421
        await first.close()
        await asyncio.sleep(0.05)
        fourth = await Client.to(listener)
        assert (await fourth.send())[0] == 250


async def test_stopping_lets_a_message_in_flight_end():
    """Idle clients hear 421; the message that is being judged is answered first."""

    class Slow(FakeGate):
        async def judge(self, submission):
            await asyncio.sleep(0.3)
            return await super().judge(submission)

    async with Sink() as sink, relay(sink, Slow()) as listener:
        busy, idle = await Client.to(listener), await Client.to(listener)
        sending = asyncio.create_task(busy.send())
        await asyncio.sleep(0.1)
        await listener.stop(2.0)

        assert (await sending)[0] == 250
        assert (await idle.reply())[0] == 421
        assert len(sink.messages) == 1


async def test_a_client_that_leaves_while_it_is_judged_is_on_record():
    """What the next hop took is noted, even if nobody waits for the answer."""

    class Slow(FakeGate):
        async def judge(self, submission):
            await asyncio.sleep(0.1)
            return await super().judge(submission)

    gate = Slow()
    async with Sink() as sink, relay(sink, gate) as listener:
        client = await Client.to(listener)
        await client.say(MAIL, 4)
        client.writer.write(LETTER + b".\r\n")
        await asyncio.sleep(0.03)
        client.writer.transport.abort()
        await asyncio.sleep(0.4)

        assert len(gate.outcomes) == 1
        assert len(sink.messages) == 1
        assert not len(listener.sessions)


async def test_the_same_on_uvloop(certificate):
    """uvloop's transports differ; a message, and one after STARTTLS, go through there too."""

    async def talk():
        more = {"certificate": certificate[0], "key": certificate[1]}
        async with Sink() as sink, relay(sink, **more) as listener:
            client = await Client.to(listener)
            first = await client.send()
            await client.say(b"STARTTLS\r\n")
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            await client.writer.start_tls(context)
            second = await client.send()
            await client.close()
            return first[0], second[0], len(sink.messages)

    assert await asyncio.to_thread(uvloop.run, talk()) == (250, 250, 2)


async def test_a_gate_that_refuses_nobody_is_not_asked_at_mail():
    """While observing MAIL is answered at once, in order and without a task; strangers are refused at RCPT as ever."""
    gate = FakeGate()
    gate.may_refuse = False
    async with Sink() as sink, relay(sink, gate) as listener:
        client = await Client.to(listener)
        for _ in range(2):
            assert (await client.send())[0] == 250
        await client.say("RSET")
        assert (await client.say("MAIL FROM:<joe@example.com>"))[0] == 250
        assert (await client.say("MAIL FROM:<joe@example.com>"))[0] == 503
        assert len(sink.messages) == len(gate.submissions) == 2
        assert gate.openings == []
    async with Sink() as sink, relay(sink, gate, trusted_networks=(), forwarding_hosts=()) as listener:
        client = await Client.to(listener)
        await client.say("EHLO me")
        assert (await client.say("MAIL FROM:<joe@example.com>"))[0] == 250
        assert (await client.say("RCPT TO:<ann@example.org>"))[0] == 554
