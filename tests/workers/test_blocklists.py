"""The monitor against real lists: baseline, changes, patience, positions; and who is told."""

import asyncio
import hashlib
import hmac
import json

import pytest

from neighbours.dns import TEST_POINTS, Blocklists
from penstock.clients.dns import Resolver, ResolverSettings
from penstock.clients.dnsbl import Lists
from penstock.clients.webhook import Webhook
from penstock.config import parse_settings
from penstock.lists.catalogue import chosen_lists, read_choice
from penstock.model import OutboxItem
from penstock.sending import Listing, ListingChange, Severity
from penstock.store.memory import MemoryStore
from penstock.store.ports import Records
from penstock.workers.blocklists import Monitor, MonitorSettings, watched_of
from penstock.workers.listing_alerts import Alerts, AlertSettings, Contacts
from penstock.workers.monitoring import Monitoring, watched_in
from penstock.workers.notices import Notices, NoticeSettings, sentence
from penstock.workers.webhooks import Webhooks

T0 = 1_800_000_000.0
EMPTY = TEST_POINTS
HIT = TEST_POINTS + "192.0.2.7 :127.0.0.2:Spam, see https://bl.example/$\n"
OTHER = TEST_POINTS + "192.0.2.7 :127.0.0.4:exploited\n"
REFUSING = "127.0.0.0/8 :127.255.255.254:no\n192.0.2.0/24 :127.255.255.254:no\n"
ZONES = {f"{name}.lists.example": ("ip4trie", EMPTY) for name in ("grave", "light")}
LISTS = """only = true
[[list]]
name = "grave"
zone = "grave.lists.example"
severity = "critical"
delist = "https://bl.example/off"
per_second = 0
codes = [["127.0.0.2", "critical", "spam"]]
[[list]]
name = "light"
zone = "light.lists.example"
per_second = 0
"""


@pytest.fixture(scope="module")
def world():
    with Blocklists(ZONES) as one:
        yield one


@pytest.fixture
def lists_say(world):
    """Have a list say something from now on; afterwards they say nothing again."""

    def say(lines, name="grave"):
        world.rbldnsd.change(f"{name}.lists.example", lines)

    yield say
    for name in ("grave", "light"):
        if (world.rbldnsd.folder / f"{name}.lists.example").read_text().partition("lists.example\n")[2] != EMPTY:
            say(EMPTY, name)


class Node:
    """One process that watches, over a store and a clock that others may share."""

    def __init__(self, resolver, store, clock, *watched, jitter=0.5, every_s=3600.0):
        self.clock = clock
        self.store = store
        self.asking = Lists(resolver, chosen_lists(read_choice(LISTS)))
        settings = MonitorSettings(watched_of(watched or (("192.0.2.0/29", 1),)), every_s)
        self.monitor = Monitor(settings, self.asking, store, now=lambda: clock[0], jitter=lambda: jitter)

    async def after(self, seconds):
        """Let time pass, and look; the changes that were noted."""
        self.clock[0] += seconds
        self.asking.health.clear()
        before = len(await self.store.listing_changes(after=0, limit=10_000))
        await self.monitor.run_once()
        return (await self.store.listing_changes(after=0, limit=10_000))[before:]


@pytest.fixture
def clock():
    return [T0]


@pytest.fixture
def store(clock):
    return MemoryStore(now=lambda: clock[0])


@pytest.fixture
async def node(world, store, clock):
    async with Resolver(ResolverSettings((("127.0.0.1", world.unbound.port),), timeout_s=1.0, tries=2)) as resolver:
        yield Node(resolver, store, clock)


async def test_the_first_round_is_a_baseline_and_then_changes_are_news(node, lists_say):
    """Listed before we looked, other codes, gone, listed again."""
    lists_say(HIT)
    (first,) = await node.after(0)
    assert (first.what, first.is_baseline, first.listing.target) == ("listed", True, "192.0.2.7")
    assert (first.listing.meanings, first.listing.text) == (("spam",), "Spam, see https://bl.example/192.0.2.7")
    assert await node.after(3600) == []
    lists_say(OTHER)
    (changed,) = await node.after(3600)
    assert (changed.what, changed.before, changed.listing.codes) == ("changed", ("127.0.0.2",), ("127.0.0.4",))
    lists_say(EMPTY)
    (cleared,) = await node.after(3600)
    assert (cleared.what, cleared.is_baseline) == ("cleared", False)
    assert await node.store.listings() == []
    lists_say(HIT)
    (again,) = await node.after(3600)
    assert (again.what, again.is_baseline) == ("listed", False)


async def test_a_list_that_fails_changes_nothing(node, lists_say):
    """Neither clears what is listed nor lists what is clear; and it is left alone ever longer."""
    lists_say(HIT)
    await node.after(0)
    lists_say(REFUSING)
    assert await node.after(3600) == []
    assert [one.target for one in await node.store.listings()] == ["192.0.2.7"]
    jobs = node.monitor._jobs
    assert jobs["grave 192.0.2.0/29"].failures == 1
    assert jobs["grave 192.0.2.0/29"].due_at == pytest.approx(node.clock[0] + 2 * 3600 / 6)
    await node.after(3600)
    assert jobs["grave 192.0.2.0/29"].due_at == pytest.approx(node.clock[0] + 4 * 3600 / 6)


async def test_grave_lists_and_important_ranges_come_round_more_often(world, store, clock):
    """Six times a critical list, four times an importance of four; jitter moves each by a tenth at most."""
    async with Resolver(ResolverSettings((("127.0.0.1", world.unbound.port),))) as resolver:
        node = Node(resolver, store, clock, ("192.0.2.7", 4), ("192.0.2.8", 1), jitter=1.0)
        await node.after(0)
        due = {name: job.due_at - T0 for name, job in node.monitor._jobs.items()}

    assert due["light 192.0.2.8/32"] == pytest.approx(3600 * 1.1)
    assert due["light 192.0.2.7/32"] == pytest.approx(3600 / 4 * 1.1)
    assert due["grave 192.0.2.8/32"] == pytest.approx(3600 / 6 * 1.1)
    assert due["grave 192.0.2.7/32"] == pytest.approx(3600 / 24 * 1.1)


async def test_a_large_range_goes_on_where_a_restart_stopped_it(world, store, clock, lists_say):
    """In slices, with the position in the store; the baseline ends with the whole round."""
    lists_say(TEST_POINTS + "192.0.3.200 :127.0.0.2:late\n")
    async with Resolver(ResolverSettings((("127.0.0.1", world.unbound.port),))) as resolver:
        first = Node(resolver, store, clock, ("192.0.2.0/23", 1))
        assert await first.after(0) == []
        assert first.monitor._jobs["grave 192.0.2.0/23"].position == 256
        second = Node(resolver, store, clock, ("192.0.2.0/23", 1), jitter=0.25)
        (late,) = await second.after(60)  # the first one's lease has run out

        assert (late.listing.target, late.is_baseline) == ("192.0.3.200", True)


async def test_one_process_looks_at_a_time(world, store, clock):
    """Whoever looked last goes on; another takes over when it is gone."""
    async with Resolver(ResolverSettings((("127.0.0.1", world.unbound.port),))) as resolver:
        ours, theirs = Node(resolver, store, clock), Node(resolver, store, clock, jitter=0.25)
        await ours.after(0)
        await theirs.after(1)
        assert theirs.monitor._jobs is None and ours.monitor._jobs
        await theirs.after(60)
        assert theirs.monitor._jobs


def listed(target="192.0.2.7", name="grave", at=T0, severity=Severity.CRITICAL):
    return Listing(target, name, at, at, codes=("127.0.0.2",), meanings=("spam",), severity=severity)


async def tell(store, clock, *changes, **settings):
    await store.record_listings(changes)
    facts = {"severity": Severity.MEDIUM, "least_lists": 1, "digest_s": 600.0, "webhook": True} | settings
    alerts = Alerts(AlertSettings(**facts), chosen_lists(read_choice(LISTS)), store, lambda: clock[0])
    await alerts.run_once()
    return alerts


async def test_news_is_told_once_in_digests(store, clock):
    """After the digest's time, all together; again nothing; webhooks carry what was before and after."""
    more = listed("192.0.2.8", at=T0 + 5)
    alerts = await tell(store, clock, ListingChange(T0, "listed", listed()), ListingChange(T0 + 5, "listed", more))
    assert await store.outbox(topic="notice") == []
    clock[0] += 601
    await alerts.run_once()
    await alerts.run_once()

    (notice,) = await store.outbox(topic="notice")
    assert "192.0.2.7 is on grave (critical): spam; get off at https://bl.example/off" in sentence(notice)
    assert "192.0.2.8" in sentence(notice)
    first, _ = [one.payload for one in await store.outbox(topic="webhook")]
    assert first["before"] == {"codes": [], "lists": 0}
    assert first["after"] == {"codes": ["127.0.0.2"], "lists": 1}
    assert (first["what"], first["delist"], first["listing"]["target"]) == (
        "listed", "https://bl.example/off", "192.0.2.7",
    )  # fmt: skip
    await store.record_listings([ListingChange(clock[0], "cleared", listed())])
    clock[0] += 601
    await alerts.run_once()
    last = [one.payload for one in await store.outbox(topic="webhook")][-1]
    assert (last["what"], last["before"], last["after"]) == (
        "cleared", {"codes": ["127.0.0.2"], "lists": 1}, {"codes": [], "lists": 0},
    )  # fmt: skip


async def test_baseline_and_trifles_are_not_told(store, clock):
    """Nor what is on fewer lists than wanted."""
    baseline = ListingChange(T0, "listed", listed(), is_baseline=True)
    trifle = ListingChange(T0, "listed", listed("192.0.2.8", severity=Severity.LOW))
    alerts = await tell(store, clock, baseline, trifle, least_lists=2)
    clock[0] += 601
    await store.record_listings([ListingChange(T0 + 1, "listed", listed("192.0.2.9"))])
    await alerts.run_once()
    assert await store.outbox(topic="notice") == []
    await store.record_listings([ListingChange(T0 + 2, "listed", listed("192.0.2.9", "light", T0 + 2))])
    clock[0] += 601
    await alerts.run_once()
    (notice,) = await store.outbox(topic="notice")
    assert "192.0.2.9 is on light" in sentence(notice)


async def test_each_range_has_people_of_its_own(store, clock):
    """The narrowest range with contacts; the postmaster for the rest; one mail for each."""
    contacts = (Contacts("192.0.2.0/24", ("a@example.net",)), Contacts("192.0.2.8/32", ("b@example.net",)))
    changes = [ListingChange(T0, "listed", listed(ip)) for ip in ("192.0.2.7", "192.0.2.8", "198.51.100.1")]
    await tell(store, clock, *changes, digest_s=0.0, contacts=contacts)
    clock[0] += 1
    sent = []

    class NextHop:
        async def send(self, sender, to, parameters, raw):
            sent.append((to, raw))
            return [(one, 250, "ok") for one in to]

    settings = NoticeSettings(("postmaster@example.net",), "penstock@example.net", 20, "gate.example.net")
    await Notices(settings, store, NextHop(), lambda line: None, lambda: clock[0]).run_once()

    assert {(to, raw.count(b"192.0.2.8") > 0) for to, raw in sent} == {
        (("a@example.net",), False), (("b@example.net",), True), (("postmaster@example.net",), False),
    }  # fmt: skip
    assert await store.outbox(topic="notice") == []


async def test_a_webhook_is_signed_and_repeated_until_taken(store, clock):
    """The receiver can check time and secret; a failure waits and comes again with the same key."""
    seen, answers = [], ["503 Busy", "200 OK"]

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        body = await reader.readexactly(int(headers["content-length"]))
        seen.append((headers, body))
        writer.write(f"HTTP/1.1 {answers.pop(0)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    item = OutboxItem("listing/1", T0, "webhook", "192.0.2.7", {"what": "listed"})
    await store.update((), lambda: Records(outbox=(item,)))
    webhook, said = Webhook(url, "secret"), []
    calls = Webhooks(store, webhook, said.append, lambda: clock[0])
    async with server:
        assert await calls.run_once() == 0
        assert await calls.run_once() == 0 and len(seen) == 1  # not before its time
        clock[0] += 10
        assert await calls.run_once() == 1
    await webhook.close()

    (first, body), (second, _) = seen
    stamp, _, sign = second["x-penstock-signature"].partition(",v1=")
    moment = stamp.removeprefix("t=")
    assert sign == hmac.new(b"secret", moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert first["idempotency-key"] == second["idempotency-key"] == "listing/1"
    assert json.loads(body) == {"what": "listed"} and "HTTP 503" in said[0]
    assert await store.outbox(topic="webhook") == []


async def test_the_settings_say_what_is_watched(world, store, clock, tmp_path):
    """Pools' IPs first, then ranges and domains; and it runs as chores do."""
    lists = tmp_path / "lists.toml"
    lists.write_text(LISTS)
    settings = parse_settings(
        f"""[pools.named.normal]
ips = [{{ ip = "192.0.2.7", ip6 = "2001:db8::7" }}]
[pools.choose]
default = "normal"
[blocklists]
watch = true
resolver = "{world.unbound.address}"
lists_file = "{lists}"
domains = ["Example.COM"]
[[blocklists.ranges]]
network = "192.0.2.0/28"
contacts = ["noc@example.net"]
"""
    )
    watched = {one.name: one.importance for one in watched_in(settings)}
    assert watched == {"192.0.2.7/32": 6, "2001:db8::7/128": 6, "192.0.2.0/28": 1, "example.com": 1}
    watching = Monitoring(settings, store, log=print, now=lambda: clock[0])
    await watching.start()
    try:
        for _, _, chore in watching.chores():
            await chore()
    finally:
        await watching.close()
    assert b"grave 192.0.2.7/32" in await store.meta("monitor:jobs")
