"""Notices: mailed to the postmaster through the next hop, at most so many an hour, never lost."""

from tests.neighbours.sink import Sink

from penstock.clients.next_hop import NextHopSettings, SmtpNextHop
from penstock.model import OutboxItem
from penstock.store.memory import MemoryStore
from penstock.store.ports import Records
from penstock.workers.notices import Notices, NoticeSettings, compose, sentence

SUSPENDED = {"what": "standing", "standing": "suspended", "previous": "normal", "reasons": ["content: pills (+3.5)"]}
SETTINGS = NoticeSettings(("postmaster@example.net",), "penstock@example.net", 2, "mx.example.net")


async def put(store, key, payload=SUSPENDED):
    item = OutboxItem(key, 1_800_000_000.0, "notice", "sasl:joe@example.com", payload)
    await store.update((), lambda: Records(outbox=(item,)))


async def test_a_suspension_is_mailed_once():
    """With who, what and why, as automatic mail."""
    store, lines = MemoryStore(), []
    await put(store, "a")
    async with Sink() as sink:
        notices = Notices(
            SETTINGS, store, SmtpNextHop(NextHopSettings(sink.address, "me")), lines.append, lambda: 1.8e9
        )

        assert await notices.run_once() == 1
        assert await notices.run_once() == 0
        sender, rcpts, raw = sink.messages[0]
    assert (sender, rcpts) == ("penstock@example.net", ("postmaster@example.net",))
    assert b"sasl:joe@example.com is now suspended (was normal)" in raw
    assert b"Auto-Submitted: auto-generated" in raw
    assert lines == ["sasl:joe@example.com is now suspended (was normal): content: pills (+3.5)"]


async def test_beyond_the_hourly_number_notices_wait_and_go_together():
    """Two mails an hour; the rest waits for the next one."""
    store, clock = MemoryStore(), [1.8e9]
    async with Sink() as sink:
        notices = Notices(SETTINGS, store, SmtpNextHop(NextHopSettings(sink.address, "me")), print, lambda: clock[0])
        for number in range(5):
            await put(store, f"n{number}")
            await notices.run_once()
        assert len(sink.messages) == 2
        clock[0] += 3601
        assert await notices.run_once() == 3
        assert b"Subject: 3 notices from mx.example.net" in sink.messages[2][2]


async def test_a_next_hop_that_is_down_loses_no_notice():
    """It waits in the outbox; without addresses it is logged."""
    store, lines = MemoryStore(), []
    await put(store, "a", {"what": "limit", "percent": 90, "most": 100, "unit": "new-recipients", "window": "day"})
    down = SmtpNextHop(NextHopSettings("127.0.0.1:1", "me"))
    assert await Notices(SETTINGS, store, down, lines.append, lambda: 1.8e9).run_once() == 0
    assert len(await store.outbox(topic="notice")) == 1

    quiet = NoticeSettings((), "penstock@example.net", 2, "mx")
    assert await Notices(quiet, store, None, lines.append, lambda: 1.8e9).run_once() == 1
    assert lines[-1] == "sasl:joe@example.com has used 90 % of its limit of 100 new recipients per day"


def test_a_notice_is_a_valid_message_whatever_the_account_is_called():
    """An account's name cannot add header lines."""
    item = OutboxItem("k", 1.8e9, "notice", "script:x y z", SUSPENDED)
    raw = compose(SETTINGS, (item,), 1.8e9)
    assert raw.count(b"\r\n\r\n") >= 1
    assert sentence(item).startswith("script:x y z is now suspended")
