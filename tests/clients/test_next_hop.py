"""The next hop's connections: reused, replaced when stale, never trusted with a second answer to one question."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.neighbours.sink import Sink

from penstock.clients.next_hop import NextHopSettings, NextHopUnavailable, SmtpNextHop

RAW = b"Subject: x\r\n\r\n.dots\r\n..\r\nend\r\n"


@asynccontextmanager
async def hop_to(address, **settings):
    given = {"connect_s": 1.0, "command_s": 1.0, "data_s": 1.0} | settings
    hop = SmtpNextHop(NextHopSettings(address, "me.example", **given))
    try:
        yield hop
    finally:
        await hop.close()


async def send(hop, *rcpt_to, raw=RAW):
    return await hop.send("a@b.example", rcpt_to or ("c@d.example",), ("BODY=8BITMIME",), raw)


@asynccontextmanager
async def script(*answers):
    """A server that greets and then says one thing after another, whatever it hears; `None` closes."""

    async def serve(reader, writer):
        for answer in answers:
            if answer is None:
                break
            writer.write(answer)
            if not await reader.read(65536):
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


GREETING = (b"220 hi\r\n", b"250-hi\r\n250 8BITMIME\r\n")


async def test_messages_share_a_connection_and_arrive_as_they_were():
    """Dot-stuffing both ways, parameters, one reply per recipient, one connection for all."""
    async with Sink() as sink, hop_to(sink.address) as hop:
        assert await send(hop, "c@d.example", "e@f.example") == (
            ("c@d.example", 250, "Ok: queued"),
            ("e@f.example", 250, "Ok: queued"),
        )
        await send(hop, raw=b"no line end")
        await send(hop, raw=b"x\r\n" + b".\r\n" * 200_000)

        assert [raw for _, _, raw in sink.messages] == [RAW, b"no line end\r\n", b"x\r\n" + b".\r\n" * 200_000]
        assert sink.connections == 1
        assert "MAIL FROM:<a@b.example> BODY=8BITMIME" in sink.commands


async def test_each_recipient_has_its_own_reply():
    """The message goes to those that are taken; where nobody is, nothing is sent and the connection stays good."""
    async with Sink() as sink, hop_to(sink.address) as hop:
        sink._fail = lambda stage, n: "550 5.1.1 no" if stage == "rcpt" and "bad" in sink.commands[-1] else ""
        assert [code for _, code, _ in await send(hop, "bad1@x.example", "good@x.example")] == [550, 250]
        assert [code for _, code, _ in await send(hop, "bad1@x.example", "bad2@x.example")] == [550, 550]
        assert [code for _, code, _ in await send(hop, "good@x.example")] == [250]
        assert [rcpts for _, rcpts, _ in sink.messages] == [("good@x.example",), ("good@x.example",)]
        assert sink.connections == 1


async def test_a_refused_sender_and_the_recipients_that_went_along():
    """Their replies are read away before the next message, so that none answers it."""
    async with Sink() as sink, hop_to(sink.address) as hop:
        sink._fail = lambda stage, n: "550 5.7.1 no" if stage == "mail" else ""
        assert [code for _, code, _ in await send(hop, "a@x.example", "b@x.example")] == [550, 550]
        sink._fail = lambda stage, n: ""
        assert [code for _, code, _ in await send(hop, "c@x.example")] == [250]
        assert sink.connections == 1


async def test_a_stale_connection_is_replaced_by_a_fresh_one():
    """Whether it was closed, says 421, or dies at MAIL."""
    async with Sink() as sink, hop_to(sink.address) as hop:
        await send(hop)
        sink._fail = lambda stage, n: "drop" if stage == "mail" and sink.connections == 1 else ""
        assert (await send(hop))[0][1] == 250
        sink._fail = lambda stage, n: "421 4.3.2 bye" if stage == "mail" and sink.connections == 2 else ""
        assert (await send(hop))[0][1] == 250
        for writer in list(sink._writers):
            writer.close()
        await asyncio.sleep(0.05)
        assert (await send(hop))[0][1] == 250
        assert len(sink.messages) == 4
        assert sink.connections == 4


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "rcpt", "data", "before-dot-reply", "dot"])
async def test_whatever_fails_is_told_as_4xx_and_never_sent_twice(stage):
    """At each stage: unavailable with a 4xx; after the final dot at most one copy is there."""
    async with Sink(lambda at, n: "drop" if at == stage else "") as sink, hop_to(sink.address) as hop:
        with pytest.raises(NextHopUnavailable) as told:
            await send(hop)
        assert 400 <= told.value.reply.code < 500
        assert len(sink.messages) == (1 if stage == "dot" else 0)
        sink._fail = lambda at, n: ""
        assert (await send(hop))[0][1] == 250


@pytest.mark.parametrize(
    "answers",
    [
        (b"554 no\r\n",),
        (b"HTTP/1.1 400\r\n",),
        (b"220 hi\r\n", b"502 no\r\n", b"502 no\r\n"),
        (*GREETING, b"354 what\r\n"),
        (*GREETING, b"250 ok\r\n", b"354 what\r\n"),
        (*GREETING, b"250 ok\r\n", b"250 ok\r\n", b"250 taken without asking\r\n"),
        (*GREETING, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"354 go\r\n"),
        (*GREETING, b"\xff" * 100_000),
        (*GREETING, b"250-x\r\n" * 20_000),
        (*GREETING, b"250 ok\r\n" * 10_000),
    ],
)
async def test_a_server_that_talks_nonsense_is_unavailable(answers):
    """A 2xx to DATA is no delivery, a 354 to RCPT no recipient; floods are cut off."""
    async with script(*answers) as address, hop_to(address) as hop:
        with pytest.raises(NextHopUnavailable):
            await send(hop)


async def test_a_server_that_says_nothing_is_unavailable_in_time():
    """Each wait has its bound, also while a large message does not flow."""
    for silent in ((), (b"220 hi\r\n",), GREETING, (*GREETING, b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")):
        hanging = asyncio.Event()

        async def serve(reader, writer, answers=silent, hanging=hanging):
            for answer in answers:
                writer.write(answer)
                if answer is not answers[-1]:
                    await reader.readline()
            await hanging.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with hop_to(address, connect_s=0.3, command_s=0.3, data_s=0.3) as hop, asyncio.timeout(3):
            with pytest.raises(NextHopUnavailable):
                await send(hop, raw=b"x" * 30_000_000)
        hanging.set()
        server.close()


async def test_421_and_smtputf8_in_words_for_the_client():
    """421 speaks of another connection; an address that the server cannot take is refused for good."""
    async with Sink() as sink, hop_to(sink.address) as hop:
        sink._fail = lambda stage, n: "421 4.3.2 busy" if stage == "data" else ""
        assert (await send(hop))[0][1] == 451
    async with script(*GREETING, b"250 ok\r\n") as address, hop_to(address) as hop:
        transaction = await hop.open("ü@b.example", ("SMTPUTF8",))
        assert transaction.mail.code == 550
        await transaction.abort()


async def test_a_cancelled_transaction_answers_nobody_else():
    """Its connection is not given back: the reply that is still to come belongs to it."""
    async with Sink() as sink, hop_to(sink.address) as hop:
        transaction = await hop.open("a@b.example", ())
        asking = asyncio.create_task(transaction.rcpt("c@d.example"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await transaction.abort()
        assert (await send(hop))[0][1] == 250
        assert sink.connections == 2


async def test_no_address_becomes_a_command():
    """Line ends in an address are refused, whoever lets them in."""
    async with Sink() as sink, hop_to(sink.address) as hop:
        with pytest.raises(ValueError, match="control"):
            await send(hop, "a@b.example>\r\nDATA")
        with pytest.raises(ValueError, match="control"):
            await hop.send("a@b.example>\r\nDATA", ("c@d.example",), (), RAW)
        assert "DATA" not in sink.commands


async def test_unix_sockets_and_the_doctors_question(tmp_path):
    """`unix:` and a socket; check tells the greeting; nobody there is unavailable."""

    async def serve(reader, writer):
        writer.write(b"220 by socket\r\n")
        while line := await reader.readline():
            writer.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "mta")
    async with hop_to(f"unix:{tmp_path}/mta") as hop:
        assert await hop.check() == "by socket"
        transaction = await hop.open("a@b.example", ("BODY=8BITMIME",))
        assert (await transaction.rcpt("c@d.example")).code == 250
        await transaction.abort()
    server.close()
    async with hop_to(f"unix:{tmp_path}/nobody") as hop:
        with pytest.raises(NextHopUnavailable) as told:
            await hop.check()
    assert told.value.reply.line().startswith("451 4.4.1")
