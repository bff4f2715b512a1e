"""Real rspamd, SpamAssassin and ClamAV are asked together; none is needed, and nobody waits for one that is away."""

import asyncio
import contextlib
import time
from collections import Counter

import pytest
from tests.neighbours import scanners
from tests.neighbours.postfix import free_port
from typer.testing import CliRunner

from penstock.cli.main import app
from penstock.clients.scanners.asker import Asker, clamav, rspamd, spamassassin
from penstock.model import Connection, Envelope, Submission

CONNECTION = Connection(client_ip="192.0.2.7", helo="pc.example", login="joe@example.com")
ENVELOPE = Envelope("joe@example.com", ("ann@example.org", "bob@example.org"))


@pytest.fixture(scope="module")
def addresses():
    """All three, once for these tests."""
    with scanners.rspamd() as one, scanners.spamd() as two, scanners.clamd() as three:
        yield one, two, three


def submission(subject="minutes", body=b"See you on Monday."):
    head = (
        f"From: Joe <joe@example.com>\r\nTo: ann@example.org\r\nSubject: {subject}\r\nMessage-ID: <1@example.com>\r\n"
    )
    date = "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n"
    return Submission("id1", 0.0, CONNECTION, ENVELOPE, (head + date).encode() + body + b"\r\n")


def asker(*found, deadline_s=30.0, max_bytes=100_000, clock=time.monotonic, counts=None):
    counts = Counter() if counts is None else counts
    return Asker(found, deadline_s=deadline_s, max_bytes=max_bytes, clock=clock, count=lambda n: counts.update([n]))


async def ask(addresses, one):
    makers = (lambda a: rspamd(a, ""), lambda a: spamassassin(a, ""), clamav)
    found = asker(*(make(address) for make, address in zip(makers, addresses, strict=True)))
    return {opinion.scanner: opinion for opinion in await found.ask(one)}


async def test_all_three_find_an_ordinary_letter_harmless(addresses):
    """Scores below what they require, no virus, no trouble; rspamd was told whose it is."""
    found = await ask(addresses, submission())

    assert [one.trouble for one in found.values()] == ["", "", ""]
    assert (found["rspamd"].score, found["rspamd"].required, found["rspamd"].symbols) == (1.0, 15.0, ("PENSTOCK_USER",))
    assert found["spamassassin"].score < found["spamassassin"].required == 5.0
    assert (found["clamav"].score, found["clamav"].found) == (None, "")


async def test_each_says_what_it_finds(addresses):
    """A rule of rspamd's, SpamAssassin's test string, a signature."""
    found = await ask(addresses, submission("casino", scanners.GTUBE))
    other = await ask(addresses, submission("casino", scanners.EICAR))

    assert "GTUBE" in found["spamassassin"].symbols
    assert found["spamassassin"].score > 900
    assert (other["rspamd"].score, other["rspamd"].symbols[0]) == (13.5, "PENSTOCK_CASINO")
    assert other["clamav"].found.startswith("Eicar-Test")


async def test_a_message_larger_than_the_cap_is_not_sent():
    """Each says so, and it is no failure."""
    counts = Counter()
    one = asker(clamav(f"127.0.0.1:{free_port()}"), max_bytes=10, counts=counts)

    (opinion,) = await one.ask(submission())

    assert opinion.trouble == "larger than max_bytes"
    assert not counts


@contextlib.asynccontextmanager
async def server(answer):
    """Something on a port that handles each connection by `answer(reader, writer)`; counts them."""
    seen = []

    async def handle(reader, writer):
        seen.append(1)
        with contextlib.suppress(OSError):
            await answer(reader, writer)
        writer.close()

    one = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{one.sockets[0].getsockname()[1]}", seen
    finally:
        one.close()


async def silent(reader, writer):
    await reader.read()


async def test_nobody_waits_longer_than_the_deadline_and_the_silent_are_left_alone():
    """Three silent ones cost one deadline, not three; after three messages they cost nothing, until one tries again."""
    now, counts = [100.0], Counter()
    async with server(silent) as (address, seen):
        one = asker(rspamd(address, ""), spamassassin(address, ""), clamav(address), deadline_s=0.3,
                    clock=lambda: now[0], counts=counts)  # fmt: skip
        began = time.monotonic()
        for _ in range(3):
            assert all("no answer in 0.3 s" in opinion.trouble for opinion in await one.ask(submission()))
        assert time.monotonic() - began < 3 * 0.3 + 2.0
        opinions = await one.ask(submission())
        assert {opinion.trouble for opinion in opinions} == {"left alone after failures"}
        assert len(seen) == 9
        now[0] += 31
        await asyncio.gather(*(one.ask(submission()) for _ in range(5)))
        assert len(seen) == 12
    assert counts["scanner-clamav-failed"] == 4


async def test_a_scanner_that_is_back_is_asked_again():
    """One good answer after the rest, and it is as before."""
    now, replies = [100.0], [b"", b"", b"", *[b"stream: OK\0"] * 3]

    async def answer(reader, writer):
        await reader.readuntil(b"\0\0\0\0")
        writer.write(replies.pop(0))

    async with server(answer) as (address, _):
        one = asker(clamav(address), clock=lambda: now[0])
        troubles = [(await one.ask(submission()))[0].trouble for _ in range(4)]
        now[0] += 31
        troubles += [(await one.ask(submission()))[0].trouble for _ in range(3)]
    assert [bool(one) for one in troubles] == [True] * 4 + [False] * 3


async def test_one_that_talks_without_end_is_cut_off():
    """A megabyte of reply is enough."""

    async def babble(reader, writer):
        while True:
            writer.write(b"stream: " * 10_000)
            await writer.drain()

    async with server(babble) as (address, _):
        (opinion,) = await asker(clamav(address)).ask(submission())

    assert "longer than a megabyte" in opinion.trouble


def test_the_doctor_looks_at_each(addresses, tmp_path):
    """Good where it answers, a warning where it does not."""
    (tmp_path / "p.toml").write_text(
        f'[store]\npath = "{tmp_path}/p.sqlite"\n[scanners.rspamd]\naddress = "{addresses[0]}"\n'
        f'[scanners.clamav]\naddress = "{addresses[2]}"\n'
        f'[scanners.spamassassin]\naddress = "127.0.0.1:{free_port()}"\n'
    )
    output = CliRunner().invoke(app, ["doctor", "-c", str(tmp_path / "p.toml")]).output

    assert "scanner rspamd: answers, 0.0 of 15.0" in output
    assert "scanner clamav: answers" in output
    assert "Mail is judged without it" in output
