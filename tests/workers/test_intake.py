"""Sources of what comes back: a mailbox, a journal, a log that is not there yet."""

import asyncio
import json
import os
import stat

import pytest
from tests.workers.follower import made
from tests.workers.test_feedback import JOE, NOW, ONE, bounced, bounces, complaint, judged, row

from penstock.config import Settings
from penstock.sections.feedback import FeedbackSection
from penstock.store.memory import MemoryStore
from penstock.workers.intake import Intake, empty


@pytest.fixture
async def store():
    made = MemoryStore(now=lambda: NOW)
    await made.open()
    await judged(made, row(ONE))
    return made


def maildir(tmp_path, *messages):
    for name in ("new", "cur", "tmp"):
        (tmp_path / "box" / name).mkdir(parents=True)
    for number, raw in enumerate(messages):
        (tmp_path / "box" / "new" / f"{number}.host").write_bytes(raw)
    return tmp_path / "box"


async def test_a_mailbox_is_emptied_once(store, tmp_path):
    """What was read is marked as read, and kept."""
    _, feedback = made(store, now=lambda: NOW)
    box = maildir(tmp_path, complaint("Message-ID: <one@example.com>"), b"From: a@b.example\n\nhi")

    assert await empty(box, feedback) == 2
    assert await empty(box, feedback) == 0
    assert sorted(os.listdir(box / "cur")) == ["0.host:2,S", "1.host:2,S"]
    assert await store.read((f"a:{JOE}",)) != {f"a:{JOE}": None}


JOURNAL = """#!/bin/sh
case "$*" in *--after-cursor=c2*) shift; cat {folder}/more; exec sleep 60;; *) cat {folder}/first;; esac
"""


async def test_a_journal_is_followed_from_its_cursor(store, tmp_path, monkeypatch):
    """Entries as journald writes them, text as numbers among them; after a restart it goes on behind the last one.

    A stand-in for journalctl: containers that tests run in have no journal.
    """
    monkeypatch.setattr("penstock.workers.intake._AGAIN_S", 0.05)
    command = tmp_path / "journalctl"
    command.write_text(JOURNAL.format(folder=tmp_path))
    command.chmod(stat.S_IRWXU)
    lines = [bounced(n).decode().split("]: ", 1)[1].rstrip() for n in (1, 2, 3)]
    entries = [
        {"__CURSOR": f"c{n}", "__REALTIME_TIMESTAMP": f"{1788300000 + n}000000", "SYSLOG_IDENTIFIER": "postfix/smtp",
         "_PID": "8", "MESSAGE": text}
        for n, text in enumerate(lines)
    ]  # fmt: skip
    entries[1]["MESSAGE"] = list(lines[1].encode())
    texts = [json.dumps(one) for one in entries]
    (tmp_path / "first").write_text("\n".join([texts[0], "rubbish", texts[1].replace("c1", "c2")]) + "\n")
    (tmp_path / "more").write_text(texts[2] + "\n")
    troubles = []
    _, feedback = made(store, now=lambda: NOW)
    settings = Settings(feedback=FeedbackSection(journal_units=["postfix.service"]))
    intake = Intake(settings, feedback, lambda where, trouble: troubles.append(where), journalctl=str(command))

    running = asyncio.create_task(intake.run())
    async with asyncio.timeout(20):
        while await bounces(store) < 3:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert troubles == ["journal"]
    assert await store.meta("journal:postfix.service") in (b"c2", b"c3")


async def test_trouble_with_one_source_does_not_stop_the_others(store, tmp_path, monkeypatch):
    """A mailbox that is none is told of, and the log goes on."""
    monkeypatch.setattr("penstock.workers.intake._AGAIN_S", 0.01)
    told = asyncio.Queue()
    _, feedback = made(store, now=lambda: NOW)
    settings = Settings(feedback=FeedbackSection(logs=[tmp_path / "mail.log"], mailboxes=[tmp_path / "none"]))
    running = asyncio.create_task(Intake(settings, feedback, lambda where, trouble: told.put_nowait(where)).run())

    async with asyncio.timeout(20):
        assert await told.get() == f"mailbox {tmp_path / 'none'}"
        (tmp_path / "mail.log").write_bytes(bounced(1))
        while await bounces(store) < 1:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
