"""Blocks that only receivers' replies show."""

import itertools
from importlib import resources

import pytest
from msgspec.structs import replace
from tests.workers.follower import made
from tests.workers.test_feedback import NOW, bounced, judged, row

from penstock.config import parse_settings
from penstock.protocols.deliveries import Reader, postfix
from penstock.protocols.receivers import Replies
from penstock.sending import Severity
from penstock.store.memory import MemoryStore
from penstock.workers.reply_blocks import ReplyBlocks, reply_blocks

REPLIES = Replies((resources.files("penstock.protocols") / "replies.toml").read_text("utf-8"))
CONTENT = "550-5.7.1 [203.0.113.4 12] Gmail has detected that this message is likely unsolicited mail."
RATE = "421-4.7.28 Gmail has detected an unusual rate of mail, deferred for now."
DOMAIN = "550-5.7.1 this message is likely suspicious due to the very low reputation of the sending domain."
MICROSOFT = "550 5.7.606 Access denied, banned sending IP [192.0.2.25]."


def sent(number):
    """A decision whose mail left by an IP of ours."""
    one = row(f"{number:020d}", queue_id=f"4B1C2D3E4{number}")
    return replace(one, decision=replace(one.decision, pool="normal", ip="192.0.2.25"))


class Surroundings:
    """Blocks over a store, with a clock that can be moved."""

    def __init__(self):
        self.now, self.keys = NOW, itertools.count()
        self.store = MemoryStore(now=lambda: self.now)
        self.blocks = ReplyBlocks(self.store, frozenset({"192.0.2.25", "2001:db8::25"}), lambda: self.now)

    async def hear(self, reply, **sent):
        return await self.blocks.note(REPLIES.read(reply), reply, self.now, key=str(next(self.keys)), **sent)

    async def listed(self):
        return [(one.target, one.list, one.severity) for one in await self.store.listings()]


@pytest.fixture
def around():
    return Surroundings()


async def test_a_receiver_that_says_it_again_and_again_blocks_the_ip(around):
    """Three replies within an hour make a listing; one or two are a message's own trouble."""
    heard = []
    for _ in range(4):
        heard.append(await around.hear(MICROSOFT))
        around.now += 60

    assert heard == [False, False, True, True]
    assert await around.listed() == [("192.0.2.25", "receiver:microsoft", Severity.HIGH)]
    (change,) = await around.store.listing_changes(after=0)
    assert (change.what, change.listing.codes, change.listing.text) == ("listed", ("550 5.7.606",), MICROSOFT)


async def test_what_is_no_block_of_an_ip_of_ours_is_none(around):
    """Other people's addresses, full mailboxes, spam in one message, and what was long ago."""
    replies = [
        "550 5.7.606 Access denied, banned sending IP [203.0.113.9].",
        "552 5.2.2 mailbox full [192.0.2.25]",
        "550 5.7.1 message looks like spam",
        "550 no such user",
    ]
    for reply in replies * 5:
        assert not await around.hear(reply)
    for _ in range(5):
        assert not await around.blocks.note(
            REPLIES.read(MICROSOFT), MICROSOFT, around.now - 2 * 86400, key=str(next(around.keys))
        )
    for _ in range(5):
        assert not await around.hear(MICROSOFT) or around.now > NOW + 3600
        around.now += 3500

    assert await around.listed() == []


async def test_a_small_receivers_block_is_told_but_weighs_little(around):
    """It must not take an IP out for everybody."""
    for _ in range(3):
        await around.hear("554 5.7.1 your IP 192.0.2.25 has been blocked")

    assert await around.listed() == [("192.0.2.25", "receiver:others", Severity.LOW)]


async def test_a_block_that_nobody_speaks_of_any_longer_is_cleared(around):
    """After a day; the history keeps both changes."""
    for _ in range(3):
        await around.hear(MICROSOFT)
    around.now += 3600
    assert await around.blocks.run_once() == 0
    around.now += 86400

    assert await around.blocks.run_once() == 1
    assert await around.listed() == []
    assert [one.what for one in await around.store.listing_changes(after=0)] == ["listed", "cleared"]


async def test_delivery_logs_are_listened_to(around):
    """Refusals and delays alike, as Postfix writes them down."""
    _, feedback = made(around.store, now=lambda: around.now, blocks=around.blocks)
    delayed = bounced(3, reply=MICROSOFT.replace("550", "451")).replace(b"status=bounced", b"status=deferred")
    at = b"2026-09-01T20:30:00"

    lines = b"".join((bounced(1, reply=MICROSOFT), bounced(2, reply=MICROSOFT), delayed))
    await feedback.take_block(lines.replace(b"2026-09-01T08:00:00", at), Reader(postfix))

    assert await around.listed() == [("192.0.2.25", "receiver:microsoft", Severity.HIGH)]


async def test_the_ips_of_all_pools_are_watched():
    """IPv6 companions among them."""
    settings = parse_settings(
        '[next_hop]\naddress = "127.0.0.1:25"\n[smtp]\nlisten = ["127.0.0.1:2525"]\n'
        '[[pools.named.normal.ips]]\nip = "192.0.2.25"\nip6 = "2001:db8::25"\nhelo = "mx.example.com"\n'
    )
    store = MemoryStore(now=lambda: NOW)
    blocks = reply_blocks(settings, store, lambda: NOW)
    for ip in ("2001:db8::25", "192.0.2.25", "192.0.2.26"):
        reply = MICROSOFT.replace("192.0.2.25", ip)
        for number in range(3):
            await blocks.note(REPLIES.read(reply), reply, NOW, key=str(number))

    assert sorted(one.target for one in await store.listings()) == ["192.0.2.25", "2001:db8::25"]


@pytest.mark.parametrize(
    ("reply", "target", "name", "severity"),
    [
        (CONTENT, "192.0.2.25", "receiver:google/content", Severity.LOW),
        (RATE, "192.0.2.25", "receiver:google/rate", Severity.LOW),
        (DOMAIN, "joe.example", "receiver:google/domain", Severity.MEDIUM),
        ("550 5.7.1 Your IP has been blocked by our policy; dial 1-2", "192.0.2.25", "receiver:others", Severity.LOW),
    ],
)
async def test_a_block_that_names_nobody_is_of_whom_the_mail_was(around, reply, target, name, severity):
    """Domain, content and rate have listings of their own, which take no IP out; who sent is asked for."""
    assert around.blocks.needs_sender(REPLIES.read(reply))
    for _ in range(3):
        await around.hear(reply, ip="192.0.2.25", domain="joe.example")

    assert await around.listed() == [(target, name, severity)]


async def test_a_large_receivers_block_of_an_ip_that_it_does_not_name_takes_nothing_out(around):
    """That the IP of the decision is meant is our conclusion; where it is named, it is theirs."""
    for _ in range(3):
        await around.hear("550 5.7.606 Access denied, banned sending IP", ip="192.0.2.25")

    assert await around.listed() == [("192.0.2.25", "receiver:microsoft", Severity.MEDIUM)]


async def test_one_message_that_is_tried_again_and_again_is_one(around):
    """A deferred message comes back every few minutes with the same words."""
    for _ in range(9):
        assert not await around.blocks.note(REPLIES.read(MICROSOFT), MICROSOFT, NOW, key="one")


async def test_small_receivers_opinions_of_content_are_no_listing(around):
    """Some message is always spam to somebody."""
    for _ in range(9):
        assert not await around.hear("550 5.7.1 rejected as spam", ip="192.0.2.25")


async def test_a_line_of_the_log_leads_to_the_ip_of_its_decision(around):
    """By the queue id in the log."""
    await judged(around.store, *(sent(number) for number in range(4)))
    _, feedback = made(around.store, now=lambda: around.now, blocks=around.blocks)
    lines = b"".join(bounced(number, queue_id=f"4B1C2D3E4{number}", reply=CONTENT) for number in range(4))

    await feedback.take_block(lines.replace(b"2026-09-01T08:00:00", b"2026-09-01T20:30:00"), Reader(postfix))

    assert await around.listed() == [("192.0.2.25", "receiver:google/content", Severity.LOW)]
