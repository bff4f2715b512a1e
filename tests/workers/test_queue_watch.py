"""The mail server's queue by account, with a real Postfix."""

import asyncio
import json

import aiosmtplib
import pytest
from tests.workers.test_feedback import JOE, NOW, ONE, judged, row
from typer.testing import CliRunner

from neighbours.postfix import Postfix
from penstock.cli.main import app
from penstock.clients.mail_queue import Commands, MailQueue, exim, postfix
from penstock.config import Settings
from penstock.protocols.mail_queue import Queued, read_postfix
from penstock.sections.feedback import FeedbackSection
from penstock.store.memory import MemoryStore
from penstock.workers.mail_queue import QueueWatch, by_account, queue_chores
from penstock.workers.notices import sentence


class Fixed:
    """A queue with a given number of recipients of one sender."""

    def __init__(self):
        self.count = 0

    async def show(self):
        return [
            Queued(
                "4B1C2D3E4F", "joe@example.com", tuple(f"r{n}@far.example" for n in range(self.count)), 9.0, 9, False
            ),
            Queued("4CCCCCCCCC", "Ann@example.com", ("x@far.example",), 3.0, 9, True, "why"),
        ]


@pytest.fixture
async def store():
    made = MemoryStore(now=lambda: NOW)
    await made.open()
    await judged(made, row(ONE))
    return made


async def test_what_waits_is_the_account_of_its_decision(store):
    """By queue id; what Penstock has not judged is its sender's."""
    queue = Fixed()
    queue.count = 3

    joe, ann = await by_account(store, await queue.show())

    assert (joe.account, joe.messages, joe.recipients, joe.queue_ids) == (JOE, 1, 3, ("4B1C2D3E4F",))
    assert (ann.account, ann.held, ann.reason) == ("sender:ann@example.com", 1, "why")


async def test_growth_is_alarmed_once(store):
    """Many, and twice as many as a minute ago; the same again six hours later."""
    queue, clock = Fixed(), [NOW]
    watch = QueueWatch(queue, store, alarm_at=100, now=lambda: clock[0])

    alarms = []
    for count, later in ((10, 0), (150, 60), (400, 60), (420, 7 * 3600), (900, 60)):
        queue.count, clock[0] = count, clock[0] + later
        alarms.append(await watch.run_once())

    assert alarms == [0, 1, 0, 0, 1]
    told = await store.outbox(topic="notice")
    assert [one.target for one in told] == [JOE, JOE]
    assert "150 recipients" in sentence(told[0])


async def test_a_command_that_fails_says_how(tmp_path):
    """What the mail server says is the operator's to read."""
    failing = tmp_path / "postqueue"
    failing.write_text("#!/bin/sh\necho no such queue >&2\nexit 75\n")
    failing.chmod(0o700)
    command = (str(failing),)

    with pytest.raises(OSError, match="75: no such queue"):
        await MailQueue(Commands(command, command, command, command, read_postfix)).show()


async def test_exim_gets_ids_as_arguments(tmp_path):
    """Exim's commands take no list on standard input."""
    told = tmp_path / "told"
    command = tmp_path / "exim"
    command.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    command.chmod(0o700)
    given = exim()
    queue = MailQueue(
        Commands(given.show, (str(command), "-Mf"), (str(command), "-Mt"), (str(command), "-Mrm"), given.read, True)
    )

    await queue.hold(["a", "b"])
    await queue.release(["a"])
    await queue.purge(["b"])

    assert told.read_text() == "-Mf a b\n-Mt a\n-Mrm b\n"


def test_the_queue_is_watched_where_it_is_wanted(store):
    """And where there is a way to ask."""
    wanted = Settings(feedback=FeedbackSection(queue_alarm=500))

    assert [name for _, name, _ in queue_chores(wanted, store, lambda: NOW)] == ["queue"]
    assert queue_chores(Settings(), store, lambda: NOW) == []
    assert queue_chores(Settings(feedback=FeedbackSection(queue_alarm=5, log_format="sendmail")), store, None) == []


async def test_an_accounts_mail_is_held_released_and_removed_in_a_real_postfix(tmp_path):
    """From the command line: shown by account, first without doing anything, then done, with its audit entry."""
    config = tmp_path / "penstock.toml"
    config.write_text(
        f'[store]\npath = "{tmp_path}/s.sqlite"\n[next_hop]\naddress = "maildir:{tmp_path}/sink"\n'
        '[milter]\nlisten = ["127.0.0.1:0"]\n'
    )
    async with Postfix(sink="127.0.0.1:1", logins={"joe@example.com": "secret"}) as mta:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=mta.port, start_tls=False, timeout=20)
        async with client:
            await client.login("joe@example.com", "secret")
            for _ in range(3):
                await client.sendmail("joe@example.com", ["a@far.example"], b"Subject: x\r\n\r\nx\r\n")
        folder = str(mta.folder / "etc")
        queue = MailQueue(postfix(folder))
        async with asyncio.timeout(30):
            while len(await queue.show()) < 3:
                await asyncio.sleep(0.05)

        def call(*words):
            more = ("-c", str(config), "--postfix-folder", folder)
            found = CliRunner().invoke(app, ["queue", *words, *more])
            assert found.exit_code == 0, found.output
            return found.output

        (shown,) = json.loads(await asyncio.to_thread(call, "--json"))
        assert (shown["account"], shown["messages"]) == ("sender:joe@example.com", 3)
        assert "would be held" in await asyncio.to_thread(call, "hold", shown["account"], "--dry-run")
        assert not any(one.is_held for one in await queue.show())
        assert "3 messages" in await asyncio.to_thread(call, "hold", shown["account"], "-r", "hijacked")
        assert all(one.is_held for one in await queue.show())
        await asyncio.to_thread(call, "release", shown["account"])
        assert not any(one.is_held for one in await queue.show())
        await asyncio.to_thread(call, "purge", shown["account"])
        assert await queue.show() == []
        assert "nothing" in await asyncio.to_thread(call, "purge", shown["account"])
