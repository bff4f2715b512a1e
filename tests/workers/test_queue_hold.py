"""What is still in a real Postfix's queue of a suspended account is held; its owner's goes on when it is released."""

import asyncio

import aiosmtplib
import pytest
from msgspec.structs import replace
from tests.workers.test_feedback import JOE, NOW, ONE, judged, row

from neighbours.postfix import Postfix
from penstock.clients.drivers.driver import Unavailable
from penstock.clients.mail_queue import Commands, MailQueue, postfix
from penstock.model import Evidence, Rung, Step, Thing
from penstock.protocols.mail_queue import read_postfix
from penstock.store.memory import MemoryStore
from penstock.workers.queue_hold import QueueHold


def step(verb):
    return Step("k", 1.0, JOE, verb, Thing(Rung.MAILBOX, "joe@example.com"))


async def test_it_is_held_and_what_is_the_owners_goes_on():
    """By the account of each message's decision; what speaks for abuse stays on hold; others' mail is left alone."""
    store = MemoryStore(now=lambda: NOW)
    main = "defer_transports = smtp\n"
    async with Postfix(sink="127.0.0.1:1", logins={"joe@example.com": "secret"}, main=main) as server:
        queue = MailQueue(postfix(str(server.folder / "etc")))
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=server.port, start_tls=False, timeout=20) as client:
            await client.login("joe@example.com", "secret")
            for number in range(3):
                await client.sendmail("joe@example.com", [f"r{number}@far.example"], b"Subject: x\r\n\r\nhi\r\n")
        async with asyncio.timeout(20):
            while len(queued := await queue.show()) < 3:
                await asyncio.sleep(0.1)
        ids = {one.recipients[0][1]: one.queue_id for one in queued}
        for number, nats in (("0", -2.0), ("1", 4.0)):
            known = row(f"{ONE[:-1]}{number}")
            evidence = (Evidence("content", nats, group="content"),)
            decided = replace(known.decision, evidence=evidence)
            await judged(store, replace(known, decision=decided, queue_id=ids[number]))
        driver = QueueHold(queue, store)
        assert await driver.carry_out(step("shut")) == "2 messages held"
        assert await driver.carry_out(step("shut")) == "0 messages held"
        assert {one.queue_id for one in await queue.show() if one.is_held} == {ids["0"], ids["1"]}
        assert await driver.carry_out(step("open")) == "1 messages let go, 1 left on hold for review"
        assert await driver.carry_out(step("open")) == "0 messages let go, 1 left on hold for review"
        assert {one.queue_id for one in await queue.show() if one.is_held} == {ids["1"]}


async def test_a_queue_that_cannot_be_asked_is_waited_for():
    """The program is not there."""
    gone = Commands(("/nonexistent/postqueue",), (), (), (), read_postfix)
    with pytest.raises(Unavailable):
        await QueueHold(MailQueue(gone), MemoryStore()).carry_out(step("shut"))
