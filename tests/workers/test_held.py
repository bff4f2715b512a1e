"""Held mail leaves once: released, dropped, expired; and nothing is lost when Penstock is killed."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from msgspec.structs import replace
from tests.neighbours.sink import Sink
from tests.workers.test_feedback import ONE, row

from penstock.clients.next_hop import NextHopSettings, SmtpNextHop
from penstock.desk import Desk
from penstock.model import Evidence, Held
from penstock.store.memory import MemoryStore
from penstock.store.ports import HeldMessage, Records
from penstock.store.sqlite import SqliteStore
from penstock.workers.held import Release, drop, expire, review

ids = itertools.count()


def held(id=None, at=1000.0, to=("ann@example.org",)):
    name = id or f"held{next(ids)}"
    return Held(name, name, "sasl:joe@example.com", at, "joe@example.com", to, 5, "PS-ACCOUNT")


async def keep(store, one, raw=b"Subject: x\r\n\r\nhi\r\n"):
    await store.update((), lambda: Records(held=(HeldMessage(one, raw),)))


def releasing(store, sink, now=2000.0):
    hop = SmtpNextHop(NextHopSettings(sink.address, "me", command_s=2.0, data_s=2.0))
    return Release(store, hop, lambda one, raw: b"X-Released: yes\r\n" + raw, lambda: now)


async def test_a_release_goes_to_the_next_hop_once():
    """Delivered with its own envelope, on record, and gone from the held ones."""
    store = MemoryStore(now=lambda: 2000.0)
    one = held(to=("ann@example.org", "bob@example.org"))
    await keep(store, one)
    async with Sink() as sink:
        release = releasing(store, sink)
        first, second = await asyncio.gather(release(one.id, who="ann"), release(one.id, who="bob"))

        assert sorted((first.is_done, second.is_done)) == [False, True]
        assert sink.messages[0][:2] == ("joe@example.com", ("ann@example.org", "bob@example.org"))
        assert sink.messages[0][2].startswith(b"X-Released: yes\r\n")
        assert len(sink.messages) == 1
    assert (await store.held_one(one.id)).state == "released"
    assert await store.held_raw(one.id) is None
    assert [entry.what for entry in await store.audit(target=one.id)] == ["release-held"]


async def test_a_release_that_is_put_off_stays_held_whole():
    """One recipient's 4xx puts off all, so that nobody gets it twice; a next hop that is down changes nothing."""
    store = MemoryStore(now=lambda: 2000.0)
    one = held(to=("ann@example.org", "later@example.org"))
    await keep(store, one)
    async with Sink() as sink:
        sink._fail = lambda stage, n: "450 4.2.0 later" if stage == "rcpt" and "later@" in sink.commands[-1] else ""
        outcome = await releasing(store, sink)(one.id, who="ann")
        assert (outcome.is_done, len(sink.messages)) == (False, 0)
        assert "later@example.org" in outcome.detail
    async with Sink(lambda stage, n: "drop") as sink:
        assert not (await releasing(store, sink)(one.id, who="ann")).is_done
    assert (await store.held_one(one.id)).state == "held"
    assert await store.held_raw(one.id)


async def test_an_accounts_held_mail_is_settled_at_once():
    """Its owner's goes on, abuse is dropped, what nobody can say stays; each is on record."""
    store = MemoryStore(now=lambda: 2000.0)
    for number, nats in ((0, -2.0), (1, 5.0), (2, 1.0)):
        one = held(f"{number}{ONE[1:]}")
        known = row(one.id)
        evidence = (Evidence("content", nats, group="content"),)
        known = replace(known, decision=replace(known.decision, evidence=evidence))
        await store.update(
            (), lambda one=one, known=known: Records((known,), held=(HeldMessage(one, b"Subject: x\r\n\r\nhi\r\n"),))
        )
    await keep(store, held("unknown"))
    async with Sink() as sink:
        kept = await review(store, "sasl:joe@example.com")
        desk = Desk(store, None, None, releasing(store, sink), pools={}, now=lambda: 2000.0)
        done = await desk.settle_held(kept, who="ann", reason="hijacked")
        assert len(sink.messages) == 1
    states = {one.id[0]: one.state for one in await store.held(state="")}
    assert states == {"0": "released", "1": "dropped", "2": "held", "u": "held"}
    assert sum(one.is_done for one in done) == 2


async def test_drop_and_expiry_are_on_record():
    """Neither happens twice, and neither without an audit entry."""
    store = MemoryStore(now=lambda: 2000.0)
    old, young = held(at=1000.0), held(at=1900.0)
    await keep(store, old)
    await keep(store, young)

    assert await expire(store, now=2000.0, keep_s=500.0) == 1
    assert (await drop(store, young.id, who="ann", reason="spam", now=2000.0)).is_done
    assert not (await drop(store, young.id, who="ann", reason="spam", now=2000.0)).is_done
    assert (await store.held_one(old.id)).state == "expired"
    assert [entry.what for entry in await store.audit()] == ["drop-held", "expire-held"]


KEEPER = """
import asyncio, os, sys
from pathlib import Path
from penstock.model import Evidence, Held
from penstock.store.ports import HeldMessage, Records
from penstock.store.sqlite import SqliteStore
def tell(line):
    os.write(1, f"{line}\\n".encode())  # in one piece; print makes two of it under PYTHONUNBUFFERED
async def main(run):
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    tell(os.getpid())
    async def keep(name):
        one = Held(name, name, "sasl:a", 1.0, "a@b", ("c@d",), 3, "PS-ACCOUNT")
        raw = (name * 50).encode()
        await store.update((), lambda: Records(held=(HeldMessage(one, raw),)))
        tell(name)
    number = 0
    while True:
        await asyncio.gather(*(keep(f"{run}x{number + n}") for n in range(4)))
        number += 4
for line in sys.stdin:
    child = os.fork()  # so that a new process need not read all modules again
    if child == 0:
        asyncio.run(main(line.strip()))
    os.waitpid(child, 0)
    tell("gone")
"""


def memory_backed(tmp_path):
    """Where fsync costs nothing: what is killed here is a process, and a slow disk would only make the test slow."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path)


def next_line(mother, *, wait_s=30.0):
    """The next line of a process that writes lines whole; fails where none comes."""
    timer = threading.Timer(wait_s, mother.kill)  # ends the wait: its lines end, too
    timer.start()
    line = mother.stdout.readline()
    timer.cancel()
    assert line.endswith("\n"), f"{mother.args[0]} ended, or was silent for {wait_s} s, after {line!r}"
    return line.strip()


async def test_what_was_acknowledged_survives_kill_9(tmp_path):
    """A process that keeps messages is killed at random moments, two hundred times: each that it had told is there."""
    rng, told = random.Random(7), set()
    with memory_backed(tmp_path) as folder:
        path = Path(folder) / "k.sqlite"
        command = [sys.executable, "-c", KEEPER, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as mother:
            for run in range(200):
                mother.stdin.write(f"r{run}\n")
                child = int(next_line(mother))
                time.sleep(rng.uniform(0.0, 0.03))
                os.kill(child, signal.SIGKILL)
                told.update(iter(lambda: next_line(mother), "gone"))
        store = SqliteStore(path)
        await store.open()
        kept = {one.id for one in await store.held(limit=1_000_000)}

        assert told
        assert told <= kept
        for name in kept:
            assert await store.held_raw(name) == (name * 50).encode()
        await store.close()
