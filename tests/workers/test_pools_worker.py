"""The loop over a real store: a listed IP leaves, the case names the account that caused it, a clean IP comes back."""

from itertools import count
from typing import get_args

import pytest
from msgspec.structs import replace

from penstock.config import parse_settings
from penstock.judge import reputation
from penstock.judge.cases import ACTS_ON
from penstock.judge.pools import Live, Pool, Pools, find_route
from penstock.lists.catalogue import Dislike
from penstock.model import Account, Action, Audit, Decision, DecisionRow, Event, Evidence, Kind, Standing, make_id
from penstock.sending import IpState, Listing, ListingChange, SendingIp, Severity
from penstock.store.memory import MemoryStore
from penstock.store.ports import PoolRecords, Records
from penstock.workers.pools import PoolKeeper, PoolSettings

HOUR = 3600.0
numbers = count()
T0 = 1_800_000_000.0
A, B, SPARE = SendingIp("192.0.2.1", ip6="2001:db8::1"), SendingIp("192.0.2.2"), SendingIp("192.0.2.9")
POOLS = Pools({"default": "normal"}, {"normal": Pool((A, B)), "spare": Pool((SPARE,))})
SETTINGS = PoolSettings(Severity.HIGH, False, 3, 2 * HOUR, 60.0, 24 * HOUR)


class Around:
    """A store, a clock, and who is told of events."""

    def __init__(self, **more):
        self.at = T0
        self.store = MemoryStore(now=lambda: self.at)
        self.events: list[Event] = []
        settings = (
            SETTINGS
            if not more
            else PoolSettings(**{f: getattr(SETTINGS, f) for f in SETTINGS.__struct_fields__} | more)
        )
        self.keepers = [
            PoolKeeper(
                settings, POOLS, self.store, self, now=lambda: self.at, new_id=lambda now: make_id(now, next(numbers))
            )
            for _ in range(2)
        ]

    def new_id(self, now):
        return make_id(now, next(numbers))

    async def absorb(self, event):
        self.events.append(event)

    async def look(self, after_s=60.0):
        self.at += after_s
        return [await one.run_once() for one in self.keepers]

    async def say(self, what="listed", target="192.0.2.1", list="spamhaus-zen", severity=Severity.HIGH):
        listing = Listing(target, list, self.at, self.at, severity=severity)
        await self.store.record_listings([ListingChange(self.at, what, listing)])

    async def state(self, ip="192.0.2.1"):
        return {one.ip: one for one in (await self.store.pool_state()).ips}.get(ip)

    async def sent(self, login, messages, *, ip="192.0.2.1", score=0.0, content=-0.5, group="content"):
        rows = []
        for number in range(messages):
            evidence = (Evidence(group, content, "free pills", "", group),)
            decision = Decision(
                make_id(self.at - 100 - number, next(numbers)), self.at - 100 - number,
                Account("sasl", login), Action.ACCEPT, Action.ACCEPT, Standing.NORMAL, Kind.NORMAL, score,
                evidence=evidence, pool="normal", ip=ip,
            )  # fmt: skip
            rows.append(DecisionRow(decision, login, ("a@x.example",), "192.0.2.200", "smtp", "", "", "", 10))
        await self.store.update((), lambda: Records(decisions=tuple(rows)))


async def test_a_listed_ip_leaves_and_the_case_names_the_thief_first():
    """Drained at once and on record; the account with the evidence has most of the blame, and its worst messages."""
    around = Around()
    await around.sent("good@example.com", 300)
    await around.sent("thief@example.com", 20, score=9.0, content=3.0)
    await around.sent("elsewhere@example.com", 50, ip="192.0.2.2", score=20.0)
    await around.say()

    assert sorted(await around.look()) == [0, 1]
    state = await around.state()
    assert (state.state, state.who, state.reason) == ("drained", "penstock", "on spamhaus-zen")
    (case,) = await around.store.cases(open_only=True)
    first, second = case.suspects
    assert (first.account, second.account) == ("sasl:thief@example.com", "sasl:good@example.com")
    assert first.blame > 0.9 > 0.05 > second.blame
    assert first.reasons == ("statistic up to 9.0 nats", "content +3.0: free pills")
    assert len(first.decisions) == 5
    assert [(one.what, one.account, one.share) for one in around.events] == [("listing", first.account, first.blame)]
    assert {one.what for one in await around.store.audit(target="192.0.2.1")} == {"drain-ip", "open-case"}
    assert [one.target for one in await around.store.outbox(topic="notice")] == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("list", "first"),
    [("psbl", "buyer"), ("truncate", "spammer"), ("spamhaus-xbl", "buyer"), ("receiver:google", "spammer")],
)
async def test_what_a_list_dislikes_counts_twice(list, first):
    """By the catalogue: traps are met by strangers' addresses, users report what mail says."""
    around = Around(dislikes=PoolSettings.of(parse_settings("")).dislikes)
    await around.sent("spammer@example.com", 20, score=3.0, content=2.0)
    await around.sent("buyer@example.com", 20, score=3.0, content=2.0, group="novelty")
    await around.say(list=list)
    await around.look()
    (case,) = await around.store.cases(open_only=True)

    assert case.suspects[0].account == f"sasl:{first}@example.com"
    assert set(get_args(Dislike)) == set(ACTS_ON)


@pytest.mark.parametrize(("is_observing", "suspects"), [(True, ["sasl:thief@example.com"]), (False, [])])
async def test_while_observing_a_case_looks_at_all_mail_that_named_no_ip(is_observing, suspects):
    """The mail server chose the IP then; in enforce mode such mail never used it."""
    around = Around(is_observing=is_observing)
    await around.sent("thief@example.com", 20, ip="", score=9.0, content=3.0)
    await around.sent("elsewhere@example.com", 50, ip="192.0.2.2", score=20.0)
    await around.say()
    await around.look()
    (case,) = await around.store.cases(open_only=True)

    assert [one.account for one in case.suspects] == suspects
    assert [one.account for one in around.events] == suspects


async def test_it_comes_back_after_clean_checks_over_hours_and_the_case_closes():
    """Three looks at least, over two hours at least; a look in between that finds it listed begins anew."""
    around = Around()
    await around.say()
    await around.look()
    await around.say("cleared")
    for _ in range(3):
        await around.look()
    assert (await around.state()).clean_checks == 1  # looks in quick succession are one check
    await around.look(HOUR)
    await around.say()
    await around.look()
    assert (await around.state()).clean_checks == 0
    await around.say("cleared")
    for _ in range(3):
        assert (await around.state()).state == "drained"
        await around.look(HOUR)

    assert (await around.state()).state == "active"
    assert await around.store.cases(open_only=True) == []
    (case,) = await around.store.cases()
    assert (case.closed_by, case.reason) == ("penstock", "clean in 3 checks over 2.0 h")
    assert len(await around.store.audit(target="192.0.2.1")) == 3


async def test_the_last_ip_of_a_pool_stays_unless_the_operator_says_so():
    """A case opens all the same, and closes when it is clean; with the setting it goes."""
    around, daring = Around(), Around(may_drain_last=True)
    for one in (around, daring):
        await one.say(target=SPARE.ip)
        await one.look()

    assert await around.state(SPARE.ip) is None
    assert len(await around.store.cases(open_only=True)) == 1
    assert (await daring.state(SPARE.ip)).state == "drained"
    await around.say("cleared", target=SPARE.ip)
    for _ in range(3):
        await around.look(HOUR)
    assert await around.store.cases(open_only=True) == []


async def test_of_two_listed_ips_one_stays():
    """The second one would be the pool's last."""
    around = Around()
    await around.say(target=A.ip)
    await around.say(target=B.ip)
    await around.look()

    assert [(await around.state(A.ip)).state, await around.state(B.ip)] == ["drained", None]
    assert len(await around.store.cases(open_only=True)) == 2


@pytest.mark.parametrize(
    ("listing", "leaves"),
    [
        ({"severity": Severity.MEDIUM}, False),
        ({"target": "2001:db8::1"}, True),
        ({"target": "192.0.2.0/31"}, True),
        ({"target": "192.0.2.3"}, False),
        ({"list": "receiver:microsoft"}, True),
    ],
)
async def test_what_counts_against_an_ip(listing, leaves):
    """Severe listings of the IP, its IPv6 companion or its network, by lists and by receivers."""
    around = Around()
    await around.say(**listing)
    await around.look()

    assert ((await around.state()) is not None and (await around.state()).state == "drained") is leaves


async def test_a_persons_word_goes_before_the_loop():
    """What a person drained stays out; what a person brought back stays in until something new is found."""
    around = Around()
    mine = IpState(A.ip, "normal", "drained", T0, who="ann")
    await around.store.record_pools(PoolRecords((mine,), audit=(Audit(T0, "ann", "drain-ip", A.ip),)))
    for _ in range(5):
        await around.look(HOUR)
    assert await around.state() == mine
    await around.say()
    await around.store.record_pools(PoolRecords((replace(mine, state="active", since=around.at + 1),)))
    await around.look(HOUR)
    assert (await around.state()).state == "active"
    await around.say(list="barracuda")
    await around.look()
    assert (await around.state()).state == "drained"


async def test_a_second_list_joins_the_open_case_and_charges_nobody_again():
    """One case, both lists, one event an account."""
    around = Around()
    await around.sent("thief@example.com", 20, score=9.0, content=3.0)
    await around.say()
    await around.look()
    await around.say(list="spamcop")
    await around.look()

    (case,) = await around.store.cases()
    assert case.lists == ("spamhaus-zen", "spamcop")
    assert len(around.events) == 1


def test_a_listing_raises_evidence_but_never_suspends_alone():
    """At most two nats, in a group of its own, however many listings there are."""
    state = None
    for number in range(50):
        event = Event(T0 + number, "listing", "sasl:joe@example.com", share=0.9, detail="192.0.2.1 on zen")
        found = reputation.observe_event(state, None, event, reputation.Policy.from_budgets())
        state = found.account

    assert found.evidence[0].name == "listed-ip"
    assert found.evidence[0].nats == 1.8
    assert found.score <= 2.0
    assert found.standing is not Standing.SUSPENDED


def test_what_the_store_says_reaches_the_route():
    """A drained IP is passed over."""
    live = Live.of([IpState(A.ip, "normal", "drained", T0), IpState(B.ip, "normal", "active", T0)], [])
    assert find_route(POOLS, live, "sasl:joe@x.example", "normal", Kind.NORMAL, now=T0).ips == (B,)
