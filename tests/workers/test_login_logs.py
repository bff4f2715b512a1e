"""Logs that tell of logins are followed like delivery logs, and each login counts once."""

import asyncio
from datetime import UTC, datetime

from penstock.config import parse_settings
from penstock.protocols.deliveries import FORMATS, Reader
from penstock.shipped import load_replies
from penstock.store.memory import MemoryStore
from penstock.store.ports import StoreUnavailable
from penstock.workers.feedback import Feedback
from penstock.workers.intake import Intake, login_reader

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
LINE = (
    "2026-11-25T09:00:0{}+00:00 mx dovecot: imap-login: Login: user=<joe@example.com>, method=PLAIN, rip=192.0.2.7, "
    "lip=1.1.1.1, session=<s{}>\n"
)
BOUNCE = (
    "2026-11-25T09:00:00+00:00 mx postfix/smtp[9]: 4GZkXq3Ymrz9vTf: to=<a@far.example>, relay=far.example[1.1.1.1]:25, "
    "dsn=5.1.1, status=bounced (host mx.far.example said: 550 5.1.1 unknown)\n"
)


class Logins:
    """Takes logins; fails the first time where it is told to."""

    def __init__(self, failures=0):
        self.failures, self.told = failures, []

    async def logged_in(self, attempt):
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("gone")
        self.told.append(attempt)

    async def absorb(self, event):
        raise AssertionError(event)


def feedback(pipeline, store):
    return Feedback(
        store, pipeline, load_replies(), read_token=lambda _: None, tag_of=str, count=lambda _: None, now=lambda: NOW
    )


async def test_a_log_is_read_on_from_where_it_was_left(tmp_path):
    """By another process too; and a place of deliveries is not a place of logins, though the file is one."""
    log, store, pipeline = tmp_path / "mail.log", MemoryStore(now=lambda: NOW), Logins()
    log.write_text(LINE.format(0, 0) + BOUNCE)
    assert await feedback(pipeline, store).catch_up(log, login_reader(), from_start=True) == 2
    await feedback(pipeline, store).catch_up(log, Reader(FORMATS["postfix"]))
    with log.open("a") as file:
        file.write(LINE.format(1, 1))
    assert await feedback(pipeline, store).catch_up(log, login_reader()) == 1

    assert [one.session for one in pipeline.told] == ["s0", "s1"]


async def test_a_store_that_is_away_is_waited_for(tmp_path, monkeypatch):
    """What is in a log is not lost."""
    monkeypatch.setattr("penstock.workers.feedback._RETRY_S", 0.01)
    log, pipeline = tmp_path / "mail.log", Logins(failures=2)
    log.write_text(LINE.format(0, 0))
    await feedback(pipeline, MemoryStore(now=lambda: NOW)).catch_up(log, login_reader(), from_start=True)

    assert len(pipeline.told) == 1


async def test_logs_of_the_settings_are_followed(tmp_path):
    """From their end on, where they were never read before."""
    log, pipeline = tmp_path / "userlogins.log", Logins()
    log.write_text(LINE.format(0, 0))
    settings = parse_settings(f'[logins]\nlogs = ["{log}"]')
    taken, troubles = feedback(pipeline, MemoryStore(now=lambda: NOW)), []
    running = asyncio.create_task(Intake(settings, taken, lambda *trouble: troubles.append(trouble)).run())
    async with asyncio.timeout(10):
        while await taken.kept_place(f"login-log:{log}") is None:
            await asyncio.sleep(0.01)
        with log.open("a") as file:
            file.write(LINE.format(1, 1))
        while not pipeline.told:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert [one.session for one in pipeline.told] == ["s1"] and troubles == []
