"""Admit, judge and absorb over a real store: what acts is kept, what fails never loses mail."""

import asyncio
import ipaddress
from collections import Counter
from random import Random

import pytest
from msgspec.structs import replace

from penstock.judge.identity import Extractor, Identity
from penstock.judge.limits import Limit, Override
from penstock.judge.policy import Policy
from penstock.judge.pools import Live, Pool, Pools, find_route
from penstock.judge.rules import Plan, Rules
from penstock.judge.warmup import DAY_S, WarmUp
from penstock.model import (
    Action,
    Connection,
    Envelope,
    Event,
    Kind,
    Mode,
    Opening,
    Standing,
    Submission,
    Verdict,
    make_id,
)
from penstock.pipeline import Pipeline
from penstock.sending import SendingIp
from penstock.store.memory import MemoryStore
from penstock.store.ports import DecisionSearch, StoreUnavailable
from penstock.store.sqlite import SqliteStore

NOW = 1_800_000_000.0
FORWARD = "x-penstock-forward"


class Told:
    def __init__(self):
        self.rows, self.troubles = [], []

    def decided(self, row, judged_s):
        self.rows.append(row)

    def failed(self, where, trouble):
        self.troubles.append((where, trouble))


class ByWord:
    """Content by the first word: how many nats."""

    def weigh(self, parsed, raw, envelope):
        first = parsed.text.split()[0] if parsed.text.split() else "0"
        return Verdict(float(first), Kind.NORMAL, fingerprints=(f"text:{parsed.text[:30]}",))


def said(reply):
    """Receivers of these tests have two words."""
    return "unknown-user" if "unknown" in reply else "policy"


def rules(inbound=(), **more):
    identity = Identity(
        (Extractor("login", "sasl"), Extractor("client", "host"), Extractor("sender", "sender")),
        (ipaddress.ip_network("127.0.0.1/32"),),
        inbound_hosts=tuple(map(ipaddress.ip_network, inbound)),
        forward_header=FORWARD,
    )
    given = {"mode": Mode.ENFORCE, "pools": Pools({"default": "normal", "poor": "risk"}), "identity": identity} | more
    return Rules(policy=Policy.from_budgets(), reference_key=b"k" * 32, reply_reason=said, **given)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    made = (
        MemoryStore(now=lambda: NOW)
        if request.param == "memory"
        else SqliteStore(tmp_path / "p.sqlite", now=lambda: NOW)
    )
    await made.open()
    yield made
    await made.close()


def pipeline(store, **more):
    told = Told()
    return Pipeline(store, ByWord(), rules(**more), told, clock=lambda: 0.0), told


count = iter(range(10**9))


def submission(odds=-2.0, to=("friend@example.org",), login="joe@example.com", at=NOW, listener="smtp", **more):
    number = next(count)
    head = f"From: joe@example.com\r\nMessage-ID: <m{number}@x>\r\nSubject: hello\r\nX-Penstock-Ref: forged\r\n"
    raw = f"{head}\r\n{odds} text {number}\r\n"
    connection = Connection(client_ip="192.0.2.7", peer_ip="192.0.2.7", login=login, listener=listener)
    return Submission(
        make_id(at, number), at, connection, Envelope("joe@example.com", tuple(to)), raw.encode(), f"Q{number}", **more
    )


rng = Random(1)


def strangers(count):
    return [f"s{rng.getrandbits(40)}@far.example" for _ in range(count)]


async def test_an_ordinary_message_passes_with_token_and_pool(store):
    """Accepted, its reference and pool in headers, forged ones removed, and its decision can be found."""
    gate, told = pipeline(store)
    one = submission()

    decision = await gate.judge(one)

    assert decision.action is Action.ACCEPT
    assert dict(decision.add_headers)["X-Penstock-Pool"] == "normal"
    assert dict(decision.add_headers)["X-Penstock-Ref"].startswith(one.id)
    assert "x-penstock-ref" in decision.remove_headers
    (row,) = await store.decisions(DecisionSearch(queue_id=one.queue_id))
    assert row.decision == decision
    assert told.troubles == []


async def test_a_hijacked_account_is_held_then_suspended_and_refused_at_mail(store):
    """Strangers, bad content and unknown recipients: held mail lies in the store, then the account is closed."""
    gate, _ = pipeline(store)
    decisions = []
    for number in range(12):
        one = submission(3.5, strangers(3), at=NOW + number)
        decisions.append(await gate.judge(one))
        if decisions[-1].action is Action.ACCEPT:
            for to in one.envelope.rcpt_to:
                await gate.absorb(Event(NOW + number, "bounced", "", one.id, to, detail="550 5.1.1 unknown"))

    actions = [one.action for one in decisions]
    held = await store.held()
    assert Action.HOLD in actions
    assert actions.index(Action.HOLD) <= 8
    assert len(held) == actions.count(Action.HOLD)
    assert b"3.5 text" in (await store.held_raw(held[0].id) or b"")
    assert decisions[-1].standing is Standing.SUSPENDED
    assert decisions[-1].reply.code == 450
    connection = Connection(login="joe@example.com")
    refusal = (await gate.admit(Opening(connection, "joe@example.com", NOW + 20))).refusal
    assert refusal is not None
    assert refusal.line().startswith("450 4.7.1 [PS-SUSPENDED]")
    assert "suspend-account" in {one.what for one in await store.audit(target="sasl:joe@example.com")}
    assert {one.payload["what"] for one in await store.outbox(topic="notice")} == {"standing"}


async def test_observe_mode_says_what_it_would_do(store):
    """Everything passes without a pool; what was wanted is on record; nobody is refused at MAIL."""
    gate, _ = pipeline(store, mode=Mode.OBSERVE)
    decisions = [await gate.judge(submission(3.5, strangers(3), at=NOW + number)) for number in range(12)]

    assert {one.action for one in decisions} == {Action.ACCEPT}
    assert Action.HOLD in {one.wanted for one in decisions}
    assert all(not one.pool for one in decisions)
    assert await store.held() == []
    assert (await gate.admit(Opening(Connection(login="joe@example.com"), "", NOW + 20))).refusal is None


async def test_what_cannot_be_held_is_delayed(store):
    """A message cut short, or asked about over HTTP, is told to come again instead."""
    gate, _ = pipeline(store)
    decisions = [await gate.judge(submission(2.5, strangers(3), listener="http", at=NOW + n)) for n in range(8)]
    cut = await pipeline(store)[0].judge(submission(11.0, login="other@example.com", is_cut=True))

    assert Action.HOLD not in {one.action for one in decisions}
    assert decisions[-1].action in (Action.THROTTLE, Action.REJECT)
    assert cut.action is Action.THROTTLE
    assert await store.held() == []


async def test_mail_to_the_providers_own_addresses_always_passes(store):
    """Even from a suspended account; to others it is refused at the end of the message."""
    gate, _ = pipeline(store, own_addresses=frozenset({"abuse@provider.example"}))
    await gate.steer("sasl:joe@example.com", Standing.SUSPENDED, who="op", reason="test", now=NOW)

    own = await gate.judge(submission(to=["Abuse@provider.example"]))
    other = await gate.judge(submission())

    assert (own.action, own.reason) == (Action.ACCEPT, "PS-OWN")
    assert (other.action, other.reason) == (Action.REJECT, "PS-SUSPENDED")
    opening = Opening(Connection(login="joe@example.com"), "", NOW)
    assert (await gate.admit(opening)).refusal is None


async def test_a_hold_that_cannot_be_written_is_delayed_and_counts_once(tmp_path):
    """Whoever sent it keeps it and is told to come again; its evidence has counted, and another try adds none."""
    store = SqliteStore(tmp_path / "p.sqlite", now=lambda: NOW)
    await store.open()
    gate, told = pipeline(store)
    for number in range(8):
        one = submission(3.5, strangers(3), at=NOW + number)
        (tmp_path / "held" / one.id[-2:]).parent.mkdir(exist_ok=True)
        (tmp_path / "held" / one.id[-2:]).write_text("in the way of a folder")
        first = await gate.judge(one)
        if told.troubles:
            break
    again = await gate.judge(replace(one, id=one.id[:-2] + "zz"))
    kept = await store.decision(one.id)
    await store.close()

    assert (first.action, first.reply.code) == (Action.THROTTLE, 450)
    assert [where for where, _ in told.troubles] == ["hold"]
    assert kept is not None and kept.decision.action is Action.THROTTLE
    assert again.action is Action.HOLD
    assert again.score <= first.score


async def test_limits_are_exact_and_say_when_they_open(store):
    """Three messages an hour; the fourth is told; an override with an end date widens it; a tenant is given back."""
    plans = {"default": Plan((Limit("messages", "hour", 3),), (Limit("messages", "day", 4, "tenant"),))}
    gate, _ = pipeline(store, plans=plans)
    found = [await gate.judge(submission(at=NOW + number)) for number in range(4)]

    assert [one.action for one in found] == [Action.ACCEPT] * 3 + [Action.THROTTLE]
    assert "3 of 3 messages per hour used" in found[3].reply.text
    assert "opens again at" in found[3].reply.text
    await gate.set_limit(
        "sasl:joe@example.com", Override("messages", "hour", 50, NOW + 3600), who="op", reason="", now=NOW
    )
    assert (await gate.judge(submission(at=NOW + 9))).action is Action.ACCEPT
    tenant = await gate.judge(submission(at=NOW + 10))
    assert "all accounts of this customer" in tenant.reply.text
    percents = [one.payload["percent"] for one in await store.outbox(topic="notice")]
    assert percents.count(100) >= 2


async def test_a_store_that_is_gone_never_loses_mail(store):
    """on_failure accept: mail flows, flagged; defer: 451; and the trouble is told."""

    class Gone(MemoryStore):
        async def update(self, turns, records):
            raise StoreUnavailable("gone")

        async def read(self, keys):
            raise StoreUnavailable("gone")

    gate, told = pipeline(Gone())
    deferring, _ = pipeline(Gone(), must_defer_on_failure=True)

    flows, deferred = await gate.judge(submission()), await deferring.judge(submission())

    assert (flows.action, flows.is_judged) == (Action.ACCEPT, False)
    assert dict(flows.add_headers) == {"X-Penstock-Unjudged": "yes"}
    assert deferred.reply.code == 451
    assert (await gate.admit(Opening(Connection(login="joe@example.com"), "", NOW))).refusal is None
    assert {where for where, _ in told.troubles} == {"judge", "admit"}


async def test_bounces_reach_the_account_of_their_decision(store):
    """An event without an account finds it by the decision."""
    gate, _ = pipeline(store)
    decision = await gate.judge(submission())

    await gate.absorb(Event(NOW + 5, "bounced", decision_id=decision.id, detail="550 5.1.1 unknown"))

    row = await store.account("sasl:joe@example.com")
    assert row.evidence > 1.0
    assert await gate.absorb(Event(NOW, "bounced", decision_id="unknown")) is None
    (kept,) = await store.events("sasl:joe@example.com")
    assert (kept.at, kept.what, kept.decision_id, kept.detail) == (NOW + 5, "bounced", decision.id, "550 5.1.1 unknown")


async def test_a_bounce_that_says_nothing_about_the_recipient_is_no_evidence(store):
    """What the reply means is read on the way in; a policy of the receiver is nobody's sin."""
    gate, _ = pipeline(store)
    decision = await gate.judge(submission())
    before = (await store.account("sasl:joe@example.com")).evidence

    await gate.absorb(Event(NOW + 5, "bounced", decision_id=decision.id, detail="550 5.7.1 not on Sundays"))

    assert (await store.account("sasl:joe@example.com")).evidence <= before


async def test_mail_to_a_spamtrap_speaks_against_its_sender_once_a_day(store):
    """An address that nobody ever used, or any at a domain that is nothing but a trap."""
    gate, _ = pipeline(store, spamtraps=frozenset({"old@example.net", "@trap.example"}))
    to = ("Old@example.net", "ann@example.org")

    await gate.judge(submission(to=to))
    first = (await store.account("sasl:joe@example.com")).evidence
    await gate.judge(submission(to=to))
    again = (await store.account("sasl:joe@example.com")).evidence
    await gate.judge(submission(to=("x@trap.example",)))

    assert first > 2.0
    assert again < first + 1.0
    assert (await store.account("sasl:joe@example.com")).evidence > again + 2.0


async def test_an_event_with_a_key_counts_once(store):
    """However often it is told."""
    gate, _ = pipeline(store)
    decision = await gate.judge(submission())
    event = Event(NOW + 5, "bounced", decision_id=decision.id, detail="550 unknown", key="k")

    assert await gate.absorb(event) is not None
    evidence = (await store.account("sasl:joe@example.com")).evidence
    assert await gate.absorb(event) is None

    assert (await store.account("sasl:joe@example.com")).evidence == evidence


async def test_a_persons_word_counts_and_is_on_record(store):
    """Suspend, release, trust: standing and audit."""
    gate, _ = pipeline(store)
    name = "sasl:joe@example.com"
    await gate.judge(submission())

    assert await gate.steer(name, Standing.SUSPENDED, who="ann", reason="phone call", now=NOW) is Standing.SUSPENDED
    assert (await gate.judge(submission())).reason == "PS-SUSPENDED"
    assert await gate.steer(name, None, who="ann", reason="fixed", now=NOW, forget=True) is Standing.NORMAL
    assert await gate.steer(name, Standing.TRUSTED, who="ann", reason="", now=NOW) is Standing.TRUSTED
    assert (await gate.judge(submission())).action is Action.ACCEPT
    assert [one.who for one in await store.audit(target=name)] == ["ann"] * 3


SIX = Pools({"default": "normal", "poor": "risk"}, {
    "normal": Pool(tuple(SendingIp(f"192.0.2.{number}") for number in (1, 2, 3)), "risk"),
    "risk": Pool((SendingIp("192.0.2.66"),)),
}, move_after_s=3600.0)  # fmt: skip


async def test_an_account_leaves_from_one_ip_and_from_its_sibling_while_that_is_drained(store):
    """The header names the IP's transport, the relay and MAIL the same; what a customer wrote there is removed."""
    gate, _ = pipeline(store, pools=SIX)
    first, second = [await gate.judge(submission(at=NOW + number)) for number in (0, 1)]
    gate.live = Live(frozenset({first.ip}))
    third = await gate.judge(submission(at=NOW + 2))

    assert first.ip == second.ip != third.ip
    assert {first.pool, third.pool} == {"normal"}
    assert dict(first.add_headers)["X-Penstock-Pool"] == f"normal-{first.ip.replace('.', '-')}" == first.transport
    assert "x-penstock-pool" in first.remove_headers
    admission = await gate.admit(Opening(Connection(login="joe@example.com"), "", NOW + 3))
    assert admission.transport == third.transport
    assert (await store.decision(third.id)).decision.ip == third.ip


async def test_an_account_leaves_the_better_pool_at_once_and_returns_after_a_while(store):
    """A person makes it poor: the next message is in risk; made normal again, it stays there for the hour."""
    gate, _ = pipeline(store, pools=SIX)
    name, who = "sasl:joe@example.com", {"who": "ann", "reason": ""}
    pools = [(await gate.judge(submission(at=NOW))).pool]
    await gate.steer(name, Standing.POOR, now=NOW + 1, **who)
    pools.append((await gate.judge(submission(at=NOW + 2))).pool)
    await gate.steer(name, Standing.NORMAL, now=NOW + 3, **who)
    pools += [(await gate.judge(submission(at=NOW + at))).pool for at in (4, 3700)]

    assert pools == ["normal", "risk", "risk", "normal"]


async def test_a_warming_ip_takes_its_cap_exactly_over_two_processes(tmp_path):
    """Twenty messages at once through two stores on one file: five by the new IP, the rest by the warm one."""
    fresh = SendingIp("192.0.2.9", warming_since=NOW - NOW % DAY_S)
    warm_up = WarmUp({"other": (5, 10)})
    new = Pools({"default": "normal"}, {"normal": Pool((fresh, SendingIp("192.0.2.1")))}, warm_up=warm_up)
    stores = [SqliteStore(tmp_path / "p.sqlite", now=lambda: NOW) for _ in range(2)]
    for one in stores:
        await one.open()
    gates = [pipeline(one, pools=new)[0] for one in stores]
    logins = [f"c{number}@example.com" for number in range(60)]
    mine = [
        one for one in logins if find_route(new, Live(), f"sasl:{one}", "new", Kind.NORMAL, now=NOW).ips[0] == fresh
    ]
    found = await asyncio.gather(
        *(gates[number % 2].judge(submission(login=mine[number], at=NOW)) for number in range(20)),
        gates[0].judge(submission(11.0, ["stranger@far.example"], login=mine[20])),
    )
    for one in stores:
        await one.close()

    assert Counter(one.ip for one in found) == {"192.0.2.9": 5, "192.0.2.1": 15, "": 1}


async def test_unjudged_mail_does_not_carry_a_pool_of_the_customers_choice():
    """Where Penstock cannot judge, the forged header still goes."""

    class Gone(MemoryStore):
        async def update(self, turns, records):
            raise StoreUnavailable("gone")

    decision = await pipeline(Gone())[0].judge(submission())

    assert "x-penstock-pool" in decision.remove_headers
    assert decision.transport == ""


def forward(number, odds=6.0, login="", name="joe@example.com", ip="10.0.0.25"):
    """What an inbound host hands on for joe; a stranger wrote it, and another header below ours."""
    one = submission(odds, [f"joe{number}@elsewhere.example"], login=login, at=NOW + number)
    connection = replace(one.connection, client_ip=ip, is_trusted_peer=True)
    head = f"X-Penstock-Forward: {name}\r\nX-Penstock-Forward: ann@example.com\r\nX-Forwarded-To: x@y.example\r\n"
    return replace(one, connection=connection, raw=head.encode() + one.raw)


async def test_forwards_of_an_inbound_host_never_count_against_the_account(store):
    """Spam that others wrote, to anybody: accepted, by the pool for forwards, and what bounces says nothing of joe."""
    choices = Pools({"default": "normal", "forwarded": "forwards", "poor": "risk"})
    gate, _ = pipeline(store, pools=choices, inbound=("10.0.0.0/24",))
    found = [await gate.judge(forward(number)) for number in range(12)]
    await gate.absorb(Event(NOW + 20, "bounced", "sasl:joe@example.com", found[0].id, detail="550 5.1.1 unknown"))
    own = await gate.judge(submission(at=NOW + 30))

    assert {(one.action, one.pool, one.kind) for one in found} == {(Action.ACCEPT, "forwards", Kind.FORWARDED)}
    assert {str(one.account) for one in found} == {"sasl:joe@example.com"}
    assert (own.standing, own.score, own.pool) == (Standing.NEW, 0.0, "normal")


@pytest.mark.parametrize("claim", [{"login": "joe@example.com"}, {"ip": "192.0.2.7"}])
async def test_a_claim_to_be_a_forward_helps_nobody(store, claim):
    """With a login, or from another host, the same headers change nothing: the account answers for it."""
    gate, _ = pipeline(store, pools=Pools({"default": "normal", "forwarded": "forwards"}), inbound=("10.0.0.0/24",))
    found = [await gate.judge(forward(number, **claim)) for number in range(12)]

    assert "forwards" not in {one.pool for one in found}
    assert found[-1].score > 4.0


CHAIN = """Received: from mx.example.com (mx.example.com [10.0.0.25]) by mail.example.com with ESMTP id 1
 for <joe@example.com>; Mon, 1 Jan 2029 00:00:00 +0000
Received: from far.example (far.example [198.51.100.9]) by mx.example.com; Mon, 1 Jan 2029 00:00:00 +0000
ARC-Seal: i=1; a=rsa-sha256; d=example.com; s=arc; cv=none; b=AbC=
ARC-Authentication-Results: i=1; mx.example.com; dkim=pass header.d=far.example
X-Penstock-Forward: joe@example.com
Resent-From: joe@example.com
Resent-To: joe@elsewhere.example
"""


@pytest.mark.parametrize("kind", ["script", "host"])
async def test_a_forged_chain_helps_nobody(store, kind):
    """Received lines, ARC, SRS, Resent and our own header, from a script or a host: its limits, its pool, its score."""
    believed = (ipaddress.ip_network("192.0.2.7/32"),) if kind == "script" else ()
    identity = Identity((Extractor("header", "script", "x-script"), Extractor("client", "host")), believed)
    identity = replace(identity, inbound_hosts=(ipaddress.ip_network("10.0.0.0/24"),), forward_header=FORWARD)
    plan = Plan((Limit("messages", "hour", 5),))
    choices = Pools({"default": "normal", "forwarded": "forwards"})
    gate, told = pipeline(store, pools=choices, identity=identity, plans={"default": plan})
    found = []
    for number in range(12):
        one = submission(-2.0, [f"joe{number}@elsewhere.example"], login="", at=NOW + number)
        head = ("X-Script: web/mail.php\n" if kind == "script" else "") + CHAIN
        raw = head.replace("\n", "\r\n").encode() + one.raw
        envelope = Envelope("SRS0=abc=de=far.example=ann@example.com", one.envelope.rcpt_to)
        connection = replace(one.connection, is_trusted_peer=True)
        found.append(await gate.judge(replace(one, raw=raw, envelope=envelope, connection=connection)))

    assert told.troubles == []
    assert {one.account.kind for one in found} == {kind}
    assert {one.pool for one in found if one.action is Action.ACCEPT} == {"normal"}
    assert [one.reason for one in found[5:]] == ["PS-LIMIT"] * 7
