"""A real Exim asks the HTTP listener in rspamd's line protocol: who sends what, what is done, and which pool."""

import contextlib
import ipaddress
import socket
import tempfile
from pathlib import Path

import aiosmtplib
import pytest

from neighbours.exim import Exim
from neighbours.gate import FakeGate, Surroundings, decision
from neighbours.postfix import POOLS, PeerSink
from penstock.cli.mta_files import exim_files
from penstock.config import parse_settings
from penstock.listeners.http import HttpListener, HttpSettings
from penstock.model import Action, Evidence, Reply

LETTER = (
    "Message-ID: <m1@example.com>\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\nFrom: joe@example.com\r\n"
    "Subject: hello\r\n\r\nHi there\r\n.dot\r\n"
)


@contextlib.asynccontextmanager
async def mail_server(gate, **more):
    """Exim that asks `gate` over the listener, and a sink behind it."""
    around = Surroundings()

    async def health():
        return True, {}

    listener = HttpListener(
        HttpSettings(listen=("127.0.0.1:0",), trusted_networks=(ipaddress.ip_network("127.0.0.0/8"),)), gate,
        metrics=lambda: b"", health=health, count=around.count, now=around.now, new_id=around.new_id,
    )  # fmt: skip
    await listener.start()
    try:
        async with PeerSink() as sink, Exim(sink=sink.address, penstock=listener.addresses[0], **more) as exim:
            exim.listener, exim.counts = listener, around.counts
            yield exim, sink
    finally:
        await listener.stop(1.0)


async def submit(exim, *recipients):
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=exim.port, start_tls=False, timeout=20) as client:
        await client.login("joe@example.com", "secret")
        return await client.sendmail("joe@example.com", list(recipients or ["a@far.example"]), LETTER.encode())


async def test_exim_tells_who_sends_what():
    """Login, client, sender, recipients and bytes arrive; the message is delivered."""
    gate = FakeGate()
    async with mail_server(gate) as (exim, sink):
        await submit(exim, "a@far.example", "b@far.example")
        await exim.until(lambda: sink.messages)

        (submission,) = gate.submissions
        connection = submission.connection
        assert (connection.login, connection.client_ip, connection.listener) == ("joe@example.com", "127.0.0.1", "http")
        assert submission.envelope.mail_from == "joe@example.com"
        assert submission.envelope.rcpt_to == ("a@far.example", "b@far.example")
        assert submission.queue_id
        assert submission.queue_id in exim.log()
        assert submission.raw.endswith(LETTER.encode())
        assert b"\r\nReceived: " in b"\r\n" + submission.raw
        assert not submission.raw.startswith(b"From ")
        assert "paniclog" not in exim.log()


async def test_the_pool_that_penstock_names_is_the_source_address():
    """Exim's transport picks the interface from the report."""
    pools = iter(["risk", "normal"])
    gate = FakeGate(lambda one: decision(one, add_headers=(("X-Penstock-Pool", next(pools)),)))
    async with mail_server(gate) as (exim, sink):
        await submit(exim)
        await exim.until(lambda: len(sink.messages) == 1)
        await submit(exim)
        await exim.until(lambda: len(sink.messages) == 2)

        assert sink.peers == [POOLS["risk"], POOLS["normal"]]


POOL = """
[pools.named.normal]
ips = [{ ip = "127.0.0.11", helo = "out11.provider.example" }, { ip = "127.0.0.12" }]
"""


@pytest.fixture
def readable():
    """A folder that Exim's own user can walk into."""
    with tempfile.TemporaryDirectory(prefix="penstock-exim-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_the_files_for_exim_choose_address_and_name(readable):
    """What `penstock pools exim` writes: the IP's address and name, else Exim's own; no header of ours leaves."""
    made = exim_files(parse_settings(POOL), readable)
    for name, text in made.items():
        (readable / name).write_text(text)
    transport = made["penstock_transport"].replace("penstock_smtp:", "remote_smtp:")
    ways = iter(["normal-127-0-0-11", "normal-127-0-0-12", ""])

    def answer(submission):
        way = next(ways)
        return decision(submission, add_headers=(("X-Penstock-Pool", way),) if way else ())

    async with mail_server(FakeGate(answer), transport=transport) as (exim, sink):
        for count in (1, 2, 3):
            await submit(exim)
            await exim.until(lambda count=count: len(sink.messages) == count)

        names = [line.partition(" ")[2] for line in sink.commands if line.startswith("EHLO")]
        assert sink.peers == ["127.0.0.11", "127.0.0.12", "127.0.0.1"]
        assert names == ["out11.provider.example", "exim.provider.example", "exim.provider.example"]
        assert not any(b"X-Penstock-Pool" in raw for _, _, raw in sink.messages)


@pytest.mark.parametrize(
    ("action", "reply", "code"),
    [
        (Action.REJECT, Reply(550, "5.7.1", "[PS-CONTENT] no: see https://x.example/d1"), 550),
        (Action.THROTTLE, Reply(450, "4.7.1", "[PS-ACCOUNT] come again later"), 451),
        (Action.HOLD, None, 451),
    ],
)
async def test_the_client_reads_our_own_words(action, reply, code):
    """Reject is 550 and soft reject 451, with the decision's text where it has one; nothing is delivered."""
    much = tuple(Evidence(f"term-{number}", 0.1, "x" * 400) for number in range(300))
    async with mail_server(FakeGate(lambda one: decision(one, action, reply=reply, evidence=much))) as (exim, sink):
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await submit(exim)

        assert caught.value.code == code
        assert caught.value.message == (reply.text if reply else "Try again later")
        assert sink.messages == []


async def test_mail_flows_while_penstock_has_trouble_or_is_away():
    """An error, and then no answer at all: Exim notes it and accepts."""

    def answer(submission):
        raise RuntimeError("boom")

    async with mail_server(FakeGate(answer)) as (exim, sink):
        await submit(exim)
        address = exim.listener.addresses[0]
        await exim.listener.stop(1.0)
        with socket.socket() as nobody:  # holds the port, or another test's listener might get Exim's question
            nobody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            nobody.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            await submit(exim)
        await exim.until(lambda: len(sink.messages) == 2)

        assert exim.counts["http-failures"] == 1
        assert "spam acl condition" in exim.log()
