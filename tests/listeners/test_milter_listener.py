"""The milter listener over real sockets: two answers a message, neighbours that notice nothing, an orderly end."""

import asyncio
import ipaddress
import socket
import struct

import pytest
import uvloop

from neighbours import milter_client as mta
from neighbours.gate import FakeGate, Surroundings, decision
from penstock.listeners.milter import MilterListener, MilterSettings
from penstock.model import Action, Reply

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class Client:
    """One connection, as of one smtpd process."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, address):
        if address.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(address.removeprefix("unix:")))
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, data):
        self.writer.write(data)

    async def reply(self):
        length = int.from_bytes(await self.reader.readexactly(4), "big")
        data = await self.reader.readexactly(length)
        return chr(data[0]), data[1:]

    async def until_final(self):
        """Replies up to the one that ends the message."""
        found = [await self.reply()]
        while found[-1][0] in "him":
            found.append(await self.reply())
        return found

    async def is_closed(self):
        try:
            return await asyncio.wait_for(self.reader.read(1), 5) == b""
        except ConnectionError:
            return True

    async def message(self, **content):
        """One whole message after the connection has begun; what was answered at its end."""
        self.send(mta.mail() + mta.recipient())
        assert (await self.reply())[0] == "c"
        self.send(mta.content(**content))
        return await self.until_final()

    async def begin(self):
        self.send(mta.negotiation() + mta.connect())
        assert (await self.reply())[0] == "O"
        return self


class Running:
    def __init__(self, gate, listen=("127.0.0.1:0",), networks=LOOPBACK, **more):
        self.around = Surroundings()
        self.counts = self.around.counts
        settings = MilterSettings(listen=listen, trusted_networks=networks, **more)
        self.listener = MilterListener(
            settings, gate, count=self.around.count, now=self.around.now, new_id=self.around.new_id
        )

    async def __aenter__(self):
        await self.listener.start()
        return self

    async def __aexit__(self, *_):
        await asyncio.wait_for(self.listener.stop(0.2), 5)

    async def client(self, which=0):
        return await Client.connect(self.listener.addresses[which])


async def test_an_accepted_message_gets_its_headers():
    """The submission is what the mail server sent; headers change, then the message is taken."""
    change = {"add_headers": (("X-Penstock-Ref", "t"),), "remove_headers": ("subject",)}
    gate = FakeGate(lambda one: decision(one, **change))
    async with Running(gate) as running:
        client = await (await running.client()).begin()
        final = await client.message()
        await client.message()

    assert final == [("m", b"\0\0\0\x01subject\0\0"), ("i", b"\0\0\0\0X-Penstock-Ref\0 t\0"), ("a", b"")]
    first, second = gate.submissions
    assert (first.raw, first.queue_id) == (b"Subject: hello\r\n\r\nHi\r\n", "4XQ1")
    assert first.connection.login == gate.openings[0].connection.login == "joe@example.com"
    assert first.connection.is_trusted_peer
    assert first.id != second.id
    assert running.counts["milter-messages"] == 2


@pytest.mark.parametrize(
    ("action", "reply", "sent"),
    [
        (Action.HOLD, None, ("d", b"")),
        (Action.THROTTLE, Reply(450, "4.7.1", "[PS-ACCOUNT] later"), ("y", b"450 4.7.1 [PS-ACCOUNT] later\0")),
        (Action.REJECT, Reply(550, "5.7.1", "[PS-CONTENT] no"), ("y", b"550 5.7.1 [PS-CONTENT] no\0")),
    ],
)
async def test_other_actions(action, reply, sent):
    """A held message is discarded at the mail server; the others carry the decision's own words."""
    async with Running(FakeGate(lambda one: decision(one, action, reply=reply))) as running:
        client = await (await running.client()).begin()
        assert await client.message() == [sent]
        assert await client.message() == [sent]


async def test_a_suspended_account_is_refused_at_mail():
    """The reply comes before any content, and the connection goes on."""
    gate = FakeGate(refusal=Reply(450, "4.7.1", "[PS-SUSPENDED] no"))
    async with Running(gate) as running:
        client = await (await running.client()).begin()
        for _ in range(2):
            client.send(mta.mail())
            assert await client.reply() == ("y", b"450 4.7.1 [PS-SUSPENDED] no\0")
            client.send(mta.packet(b"A"))

    assert gate.submissions == []
    assert running.counts["milter-mail-refused"] == 2


@pytest.mark.parametrize(
    ("mailers", "outbound_only", "is_local"),
    [
        ([b"smtp", b"relay"], False, False),
        ([b"smtp", b"local"], False, True),
        ([b""], False, True),
        ([b"local"], True, False),
    ],
)
async def test_local_recipients_are_told(mailers, outbound_only, is_local):
    """One recipient that is not surely remote keeps a pool from being named, unless nothing is ever local."""
    gate = FakeGate()
    async with Running(gate, outbound_only=outbound_only) as running:
        client = await (await running.client()).begin()
        client.send(mta.mail() + b"".join(mta.recipient(mailer=one) for one in mailers) + mta.content())
        await client.reply()
        await client.until_final()

    assert gate.submissions[0].local_recipients is is_local


async def test_our_own_trouble_is_a_tempfail_and_neighbours_notice_nothing():
    """A fault while judging answers 451 for that message alone; the same connection and others go on."""

    def answer(submission):
        if b"boom" in submission.raw:
            raise RuntimeError("boom")
        return decision(submission)

    async with Running(FakeGate(answer)) as running:
        one, two = [await (await running.client()).begin() for _ in range(2)]
        bad, good = await asyncio.gather(one.message(body=(b"boom",)), two.message())
        again = await one.message()

    assert bad[0][0] == "y"
    assert bad[0][1].startswith(b"451 4.3.0 ")
    assert good == again == [("a", b"")]
    assert running.counts["milter-failures"] == 1


async def test_a_slow_judging_keeps_nobody_waiting():
    """While one message is judged for long, a second connection gets its answers at once."""
    gate = FakeGate()
    release = asyncio.Event()

    async def judge(submission):
        if b"slow" in submission.raw:
            await release.wait()
        return decision(submission)

    gate.judge = judge
    async with Running(gate) as running:
        slow, quick = [await (await running.client()).begin() for _ in range(2)]
        waiting = asyncio.create_task(slow.message(body=(b"slow",)))
        for _ in range(5):
            assert await asyncio.wait_for(quick.message(), 5) == [("a", b"")]
        assert not waiting.done()
        release.set()
        assert await waiting == [("a", b"")]


async def test_hurried_packets_are_answered_in_order():
    """Several messages written at once, without waiting for any answer, are all judged, one after the other."""
    gate = FakeGate(judge_s=0.001)
    async with Running(gate) as running:
        client = await (await running.client()).begin()
        client.send(
            b"".join(mta.mail() + mta.recipient() + mta.content(queue_id=b"Q%d" % number) for number in range(50))
        )
        answers = [(await client.reply())[0] for _ in range(100)]

    assert answers == ["c", "a"] * 50
    assert [one.queue_id for one in gate.submissions] == [f"Q{number}" for number in range(50)]


async def test_two_hundred_connections_lose_nothing():
    """Each of many mail server processes gets its own message answered."""
    gate = FakeGate(judge_s=0.001)
    async with Running(gate) as running:

        async def session(number):
            client = await (await running.client()).begin()
            answers = [await client.message(queue_id=b"Q%d.%d" % (number, turn)) for turn in range(5)]
            client.send(mta.packet(b"Q"))
            assert await client.is_closed()
            return answers

        found = await asyncio.gather(*(session(number) for number in range(200)))

    assert all(answer == [("a", b"")] for answers in found for answer in answers)
    assert len({one.queue_id for one in gate.submissions}) == 1000


async def test_strangers_are_closed_at_once():
    """A peer outside the trusted networks is told nothing."""
    async with Running(FakeGate(), networks=(ipaddress.ip_network("192.0.2.0/24"),)) as running:
        client = await running.client()
        assert await client.is_closed()

    assert running.counts["milter-strangers"] == 1


async def test_garbage_closes_its_own_connection_alone():
    """What is no milter is counted and closed."""
    async with Running(FakeGate()) as running:
        good, bad = await (await running.client()).begin(), await running.client()
        bad.send(b"EHLO someone\r\n")
        assert await bad.is_closed()
        assert await good.message() == [("a", b"")]

    assert running.counts["milter-errors"] == 1


async def test_more_connections_than_allowed_are_closed():
    """The bound holds, and room comes back."""
    async with Running(FakeGate(), max_connections=2) as running:
        kept = [await (await running.client()).begin() for _ in range(2)]
        assert await (await running.client()).is_closed()
        kept[0].send(mta.packet(b"Q"))
        assert await kept[0].is_closed()
        assert await (await (await running.client()).begin()).message() == [("a", b"")]

    assert running.counts["milter-connections-refused"] == 1


async def test_silent_connections_are_closed():
    """A connection on which nothing comes ends by itself."""
    async with Running(FakeGate(), idle_s=0.1) as running:
        client = await (await running.client()).begin()
        assert await client.is_closed()

    assert running.counts["milter-idle-closed"] == 1


async def test_a_client_that_leaves_gives_its_memory_back():
    """Half a message, or one that is being judged, weighs nothing once its connection is gone."""
    gate = FakeGate(judge_s=0.05)
    async with Running(gate) as running:
        half, whole = [await (await running.client()).begin() for _ in range(2)]
        half.send(mta.mail() + mta.recipient() + mta.packet(b"B", b"x" * 60_000))
        whole.send(mta.mail() + mta.recipient() + mta.content(body=(b"y" * 60_000,)))
        await half.reply()
        await whole.reply()
        half.writer.close()
        whole.writer.close()
        for _ in range(200):
            await asyncio.sleep(0.01)
            if len(gate.submissions) == 1 and running.listener.room.used_bytes == 0 and not running.listener.sessions:
                break

    assert running.listener.room.used_bytes == 0
    assert len(gate.submissions) == 1


async def test_a_stop_lets_messages_finish():
    """Idle connections close, a message under way is answered, new connections find nobody."""
    running = Running(FakeGate(judge_s=0.1))
    await running.listener.start()
    address = running.listener.addresses[0]
    idle, busy = [await (await running.client()).begin() for _ in range(2)]
    waiting = asyncio.create_task(busy.message())
    await asyncio.sleep(0.05)

    await asyncio.wait_for(running.listener.stop(5), 5)

    assert await waiting == [("a", b"")]
    assert await idle.is_closed()
    assert await busy.is_closed()
    with pytest.raises(ConnectionError):
        await Client.connect(address)


async def test_a_stop_does_not_wait_for_ever():
    """What is not done within the grace is broken off."""
    running = Running(FakeGate(judge_s=60))
    await running.listener.start()
    client = await (await running.client()).begin()
    client.send(mta.mail() + mta.recipient() + mta.content())
    assert (await client.reply())[0] == "c"
    await asyncio.sleep(0.05)

    await asyncio.wait_for(running.listener.stop(0.1), 5)

    assert await client.is_closed()


async def test_a_unix_socket_is_a_trusted_peer(tmp_path):
    """Its file's mode guards it; the file goes with the listener."""
    path = tmp_path / "milter.sock"
    async with Running(FakeGate(), listen=(f"unix:{path}", "127.0.0.1:0")) as running:
        assert running.listener.addresses[0] == f"unix:{path}"
        assert await (await (await running.client()).begin()).message() == [("a", b"")]
        assert await (await (await running.client(1)).begin()).message() == [("a", b"")]

    assert not path.exists()


async def test_an_address_in_use_leaves_nothing_open():
    """Start raises OSError and closes what it had opened."""
    async with Running(FakeGate()) as running:
        second = Running(FakeGate(), listen=("127.0.0.1:0", running.listener.addresses[0]))
        with pytest.raises(OSError, match="in use"):
            await second.listener.start()

    assert second.listener.addresses == []


def test_it_runs_on_uvloop():
    """Its transports are none of asyncio's by name."""

    async def main():
        async with Running(FakeGate()) as running:
            client = await (await running.client()).begin()
            return [await client.message() for _ in range(3)]

    assert uvloop.run(main()) == [[("a", b"")]] * 3


async def test_small_pieces_are_acknowledged_at_once():
    """A mail server that waits for the acknowledgement of RCPT before it sends the message loses no 40 ms over it."""
    waits = []
    async with Running(FakeGate()) as running:
        client = await (await running.client()).begin()
        for _ in range(25):  # the kernel acknowledges the first pieces of a connection at once by itself
            client.send(mta.mail())
            assert (await client.reply())[0] == "c"
            client.send(mta.recipient())
            waits.append(await until_acknowledged(client.writer))
            client.send(mta.content())
            await client.until_final()
    assert sorted(waits)[len(waits) // 2] < 0.02


async def until_acknowledged(writer):
    """Seconds until the peer's kernel has acknowledged all that was sent (tcpi_unacked of Linux' TCP_INFO)."""
    began = asyncio.get_running_loop().time()
    connection = writer.get_extra_info("socket")
    while struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0]:
        await asyncio.sleep(0.001)
    return asyncio.get_running_loop().time() - began


async def test_a_gate_that_refuses_nobody_is_not_asked_at_mail():
    """While observing MAIL goes on at once; the message is judged all the same."""
    gate = FakeGate()
    gate.may_refuse = False
    async with Running(gate) as running:
        client = await (await running.client()).begin()
        assert (await client.message())[-1][0] == "a"
    assert gate.openings == []
    assert len(gate.submissions) == 1
