"""One contract for every backend: what the pipeline, the workers and the console may count on."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.model import (
    Account,
    AccountRow,
    Action,
    Audit,
    Decision,
    DecisionRow,
    Delivered,
    Event,
    Evidence,
    Held,
    Kind,
    OutboxItem,
    Reply,
    Standing,
    make_id,
)
from penstock.store.memory import MemoryStore
from penstock.store.ports import AccountSearch, DecisionSearch, HeldMessage, Records, Store, Turn, Write

T0 = 1_800_000_000.0
JOE = "a:sasl:joe@example.com"
JOE_AT_HOME = "s:sasl:joe@example.com|192.0.2.0/24"
JOE_LIMITS = "l:sasl:joe@example.com"


class Clock:
    """Time as the store is told it; moved by hand."""

    def __init__(self):
        self.at = T0

    def __call__(self) -> float:
        return self.at


class Backend:
    """Makes stores over one place: each is a process of its own, as far as a store can tell."""

    def __init__(self, make):
        self.make = make
        self.clock = Clock()
        self.opened = []

    async def open(self) -> Store:
        store = self.make(self.clock)
        await store.open()
        self.opened.append(store)
        return store

    async def close(self):
        for store in self.opened:
            await store.close()
        self.opened.clear()


def make_memory(request, tmp_path: Path):
    made = []

    def make(now):
        made[:] = made or [MemoryStore(now=now)]
        return made[0]

    return make


def make_sqlite(request, tmp_path: Path):
    from penstock.store.sqlite import SqliteStore

    return lambda now: SqliteStore(tmp_path / "store" / "penstock.sqlite", now=now)


def make_scale(request, tmp_path: Path, server="redis"):
    from penstock.store.scale import ScaleStore

    redis = request.getfixturevalue(server)
    redis.say("FLUSHALL")
    url = request.getfixturevalue("postgres").fresh()
    return lambda now: ScaleStore(redis.url(), url, now=now)


def make_cluster(request, tmp_path: Path):
    return make_scale(request, tmp_path, "cluster")


MAKERS = {"memory": make_memory, "sqlite": make_sqlite, "scale": make_scale, "scale-cluster": make_cluster}


@pytest.fixture(params=MAKERS)
async def backend(request, tmp_path):
    one = Backend(MAKERS[request.param](request, tmp_path))
    yield one
    await one.close()


@pytest.fixture
async def store(backend):
    return await backend.open()


def turn(slot, step, *keys):
    return Turn(slot, keys or (slot,), step)


def put(value, *keys, keep_s=60.0):
    """A turn that writes one value under all its keys."""
    return turn(keys[0], lambda state: dict.fromkeys(keys, Write(value, keep_s)), *keys)


def count(key):
    """A turn that adds one."""
    return turn(key, lambda state: {key: Write(b"%d" % (int(state[key] or 0) + 1), 60.0)})


def nothing():
    return Records(must_be_durable=False)


def decision(number, *, account="joe@example.com", action=Action.ACCEPT, at=None, **more):
    at = T0 + number if at is None else at
    wanted = more.pop("wanted", action)
    one = Decision(
        make_id(at, number), at, Account("sasl", account, account.partition("@")[2]), action, wanted,
        Standing.NORMAL, Kind.NORMAL, 0.25, evidence=(Evidence("content", 1.5, "a", "b", "content"),),
        reply=Reply(550, "5.7.1", "[PS-CONTENT] no"), reason=more.pop("reason", ""),
    )  # fmt: skip
    facts = {"queue_id": f"Q{number}", "message_id": f"<{number}@example.com>", "rcpt_to": ("a@example.net",)} | more
    return DecisionRow(
        one, mail_from=account, client_ip="192.0.2.1", listener="smtp", subject="Hé\0llo", size_bytes=4, **facts
    )  # fmt: skip


def account(name, *, evidence=0.0, seen_at=T0, standing=Standing.NORMAL, tenant="example.com"):
    return AccountRow(name, tenant, standing, evidence, seen_at, 3, 4)


def held(number, *, account="sasl:joe@example.com", at=None):
    at = T0 + number if at is None else at
    facts = Held(make_id(at, number), f"d{number}", account, at, "joe@example.com", ("a@example.net",), 9, "PS-CONTENT")
    return HeldMessage(facts, b"Subject: \0\xff%d\r\n\r\n" % number)


def audit(number=0, target="sasl:joe@example.com"):
    return Audit(T0 + number, "anna", "release-held", target, "asked by phone")


async def keep(store, **records):
    await store.update((), lambda: Records(**records))


async def let_all_see(stores):
    """What is durable brings the plain accepts before it along; without it others see them within 100 ms."""
    for one in stores:
        await keep(one)


# Hot state.


async def test_what_a_turn_writes_is_read_back(store):
    """Bytes by key, with None for what is not there."""
    value = bytes(range(256))
    await store.update((put(value, JOE, JOE_AT_HOME, JOE_LIMITS), put(b"", "c:text:1")), nothing)

    found = await store.read((JOE, JOE_AT_HOME, JOE_LIMITS, "c:text:1", "t:example.com"))

    assert found == {JOE: value, JOE_AT_HOME: value, JOE_LIMITS: value, "c:text:1": b"", "t:example.com": None}
    assert await store.read(()) == {}


async def test_a_step_sees_its_keys_and_what_turns_before_it_wrote(store):
    """Turns run in order, each over the state that the ones before have left."""
    seen = []

    def note(state):
        seen.append(dict(state))
        return {}

    await store.update((put(b"1", JOE), turn(JOE, note, JOE, JOE_LIMITS), put(b"2", JOE), turn(JOE, note)), nothing)

    assert seen[-2:] == [{JOE: b"1", JOE_LIMITS: None}, {JOE: b"2"}]


async def test_a_turn_deletes_with_none(store):
    """None takes the key away, and only that key."""
    await store.update((put(b"1", JOE, JOE_LIMITS),), nothing)
    await store.update((turn(JOE, lambda state: {JOE: Write(None, 60.0)}, JOE, JOE_LIMITS),), nothing)

    assert await store.read((JOE, JOE_LIMITS)) == {JOE: None, JOE_LIMITS: b"1"}


async def test_hot_state_lapses(backend, store):
    """A value lives as long as its last writing said, for readers and for steps."""
    await store.update((put(b"short", JOE, keep_s=10.0), put(b"long", JOE_LIMITS, keep_s=100.0)), nothing)
    backend.clock.at += 11.0
    seen = []

    await store.update((turn(JOE, lambda state: seen.append(state[JOE]) or {}, JOE),), nothing)

    assert seen[-1] is None
    assert await store.read((JOE, JOE_LIMITS)) == {JOE: None, JOE_LIMITS: b"long"}
    await store.update((count(JOE),), nothing)
    assert await store.read((JOE,)) == {JOE: b"1"}


async def test_odd_names_are_names_like_others(store):
    """Braces, bars, colons, blanks and letters of the world are only letters in a key."""
    names = ("sasl:{}", "sasl:}x{", "sasl:a|b", "sasl:a", "script:web1:/home/ü/ä.php", "sasl:a b\r\n", "none:")
    for number, name in enumerate(names):
        keys = (f"a:{name}", f"s:{name}|script:/x|y{{z}}", f"l:{name}")
        await store.update((put(b"%d" % number, *keys),), nothing)

    found = await store.read([f"{kind}:{name}" for name in names for kind in "al"])

    assert list(found.values()) == [b"%d" % number for number in range(len(names)) for _ in "al"]


@pytest.mark.parametrize("records", [Records, nothing])
async def test_fifty_increments_at_once_make_fifty(backend, records):
    """Nothing is lost between two processes that change the same key at the same time."""
    stores = [await backend.open(), await backend.open()]

    await asyncio.gather(*(stores[one % 2].update((count(JOE),), records) for one in range(50)))
    await let_all_see(stores)

    assert await stores[0].read((JOE,)) == {JOE: b"50"}


async def test_increments_of_overlapping_slots_all_count(backend):
    """Updates of several slots in any order neither wait for each other for ever nor lose anything."""
    stores = [await backend.open(), await backend.open()]
    keys = ("c:text:1", "c:text:2", "t:example.com", JOE)
    orders = [keys[one:] + keys[:one] for one in range(4)]

    await asyncio.gather(
        *(stores[one % 2].update([count(key) for key in orders[one % 4]], nothing) for one in range(40))
    )
    await let_all_see(stores)

    assert set((await stores[1].read(keys)).values()) == {b"40"}


async def test_records_are_asked_for_once_when_all_turns_have_run(store):
    """`records` sees what the steps have left, and is not called again."""
    seen = []

    def records():
        seen.append("records")
        return nothing()

    await store.update((turn(JOE, lambda state: seen.append("step") or {}, JOE),), records)

    assert seen[-1] == "records" and seen.count("records") == 1


async def test_a_step_that_raises_leaves_nothing(store):
    """The exception goes to the caller; neither the turn's keys nor any record are written."""

    def fail(state):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.update(
            (turn(JOE, fail, JOE, JOE_LIMITS),), lambda: Records(decisions=(decision(1),), audit=(audit(),))
        )

    assert await store.read((JOE, JOE_LIMITS)) == {JOE: None, JOE_LIMITS: None}
    assert await store.decisions(DecisionSearch()) == [] and await store.audit() == []


async def test_records_that_raise_leave_no_records(store):
    """The exception goes to the caller, and the store works on."""

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.update((count(JOE),), fail)
    await keep(store, decisions=(decision(1),))

    assert len(await store.decisions(DecisionSearch())) == 1


# Decisions.


async def test_a_decision_comes_back_whole(store):
    """Every field of a decision and its message survives, with or without waiting for the disk."""
    one, two = decision(1, rcpt_to=("a@example.net", "a@example.net", "b@example.net")), decision(2)
    await keep(store, decisions=(one,))
    await keep(store, decisions=(two,), must_be_durable=False)

    assert await store.decision(one.decision.id) == one
    assert await store.decision(two.decision.id) == two
    assert await store.decision("0" * 20) is None


async def test_decisions_are_found_by_each_field(store):
    """Each field of a search narrows it; together they narrow more."""
    rows = {
        "plain": decision(1),
        "held": decision(2, action=Action.HOLD, reason="PS-CONTENT"),
        "wanted": decision(3, wanted=Action.REJECT, reason="PS-LIMIT"),
        "eve": decision(4, account="eve@example.org", rcpt_to=("c@example.net", "d@example.net")),
    }
    await keep(store, decisions=tuple(rows.values()))
    names = {row.decision.id: name for name, row in rows.items()}

    async def found(**search):
        return [names[row.decision.id] for row in await store.decisions(DecisionSearch(**search))]

    assert await found() == ["eve", "wanted", "held", "plain"]
    assert await found(account="sasl:joe@example.com") == ["wanted", "held", "plain"]
    assert await found(tenant="example.org") == ["eve"]
    assert await found(action="hold") == ["held"]
    assert await found(action="reject") == ["wanted"]
    assert await found(action="accept") == ["eve", "wanted", "plain"]
    assert await found(reason="PS-LIMIT") == ["wanted"]
    assert await found(queue_id="Q1") == ["plain"]
    assert await found(message_id="<2@example.com>") == ["held"]
    assert await found(mail_from="eve@example.org") == ["eve"]
    assert await found(rcpt_to="d@example.net") == ["eve"]
    assert await found(since=T0 + 2, until=T0 + 4) == ["wanted", "held"]
    assert await found(account="sasl:joe@example.com", action="reject", since=T0 + 3) == ["wanted"]
    assert await found(mail_from="nobody@example.com\0") == []


async def test_decisions_are_turned_page_by_page(store):
    """Newest first; each page begins after the last row of the one before; nothing twice, nothing missing."""
    rows = [decision(number) for number in range(25)]
    await keep(store, decisions=tuple(rows[::2]))
    await keep(store, decisions=tuple(rows[1::2]))
    seen, before = [], ""
    while page := await store.decisions(DecisionSearch(before=before, limit=10)):
        seen += page
        before = page[-1].decision.id

    assert seen == rows[::-1]


async def test_long_and_broken_names_are_kept_and_found(store):
    """No length of a name and no odd letter in it makes a record impossible to keep."""
    long = "<" + "ä" * 5000 + "@example.com>"
    one = decision(1, account="x" * 3000 + "@example.com", message_id=long, queue_id="a\0b", rcpt_to=("r" * 9000,))
    await keep(store, decisions=(one,), accounts=(account("sasl:" + "y" * 9000),))

    for search in ({"message_id": long}, {"queue_id": "a\0b"}, {"rcpt_to": "r" * 9000}, {"mail_from": one.mail_from}):
        assert await store.decisions(DecisionSearch(**search)) == [one]
    assert await store.account("sasl:" + "y" * 9000) is not None
    assert await store.account("sasl:" + "y" * 8999) is None


async def test_what_the_next_hop_answered_is_kept(store):
    """Beside its decision, the last answer last."""
    one = Delivered("d1", "sasl:joe@example.com", T0, (("a@example.net", 250, "2.0.0 ok"),))
    await store.delivered(one)
    await store.delivered(replace(one, at=T0 + 1))

    assert await store.delivery("d1") == replace(one, at=T0 + 1)
    assert await store.delivery("d2") is None


async def test_a_decision_is_found_by_the_next_hops_queue_id(store):
    """Where it had none: the milter's is the mail server's own, and stays."""
    relayed, filtered = replace(decision(1), queue_id=""), replace(decision(2), queue_id="4B1C")
    await store.update((), lambda: Records(decisions=(relayed, filtered)))
    for row, queue_id in ((relayed, "NEXT1"), (filtered, "NEXT2")):
        await store.delivered(Delivered(row.decision.id, "sasl:joe@example.com", T0, (), queue_id))

    for queue_id, row in (("NEXT1", relayed), ("4B1C", filtered)):
        found = await store.decisions(DecisionSearch(queue_id=queue_id))
        assert [one.decision.id for one in found] == [row.decision.id]
    assert await store.decisions(DecisionSearch(queue_id="NEXT2")) == []


# Accounts.


async def test_an_account_has_one_row(store):
    """The last writing is the row, whoever waits for the disk or not."""
    await keep(store, accounts=(account("sasl:a", evidence=1.0),))
    await keep(store, accounts=(account("sasl:a", evidence=2.0, seen_at=T0 + 1),), must_be_durable=False)
    await keep(store, accounts=(account("sasl:a", evidence=3.0, standing=Standing.SUSPENDED),))

    assert await store.account("sasl:a") == account("sasl:a", evidence=3.0, standing=Standing.SUSPENDED)
    assert await store.account("sasl:b") is None
    assert len(await store.accounts(AccountSearch())) == 1


async def test_accounts_are_found_and_ordered(store):
    """By a part of the name in any case, standing and tenant; by evidence, by time or by name."""
    rows = (
        account("sasl:Bob@x", evidence=5.0, seen_at=T0 + 1),
        account("sasl:ann@x", evidence=-1.0, seen_at=T0 + 3, tenant="other"),
        account("host:192.0.2.7", evidence=9.5, seen_at=T0 + 2, standing=Standing.POOR),
    )
    await keep(store, accounts=rows)

    async def found(**search):
        return [row.account for row in await store.accounts(AccountSearch(**search))]

    assert await found() == ["host:192.0.2.7", "sasl:Bob@x", "sasl:ann@x"]
    assert await found(order="seen") == ["sasl:ann@x", "host:192.0.2.7", "sasl:Bob@x"]
    assert await found(order="account") == ["host:192.0.2.7", "sasl:Bob@x", "sasl:ann@x"]
    assert await found(text="BOB") == ["sasl:Bob@x"]
    assert await found(text="%") == []
    assert await found(standing="poor") == ["host:192.0.2.7"]
    assert await found(tenant="other") == ["sasl:ann@x"]


@pytest.mark.parametrize("order", ["evidence", "seen", "account"])
async def test_accounts_are_turned_page_by_page(store, order):
    """Rows of equal value are told apart by name, so that no page skips or repeats one."""
    rows = [account(f"sasl:{n:02}", evidence=float(n % 3), seen_at=T0 + n % 4) for n in range(23)]
    await keep(store, accounts=tuple(rows))
    whole = await store.accounts(AccountSearch(order=order, limit=100))
    seen, after = [], None
    while page := await store.accounts(AccountSearch(order=order, after=after, limit=5)):
        seen += page
        last = page[-1]
        after = ({"evidence": last.evidence, "seen": last.seen_at, "account": last.account}[order], last.account)

    assert seen == whole and len(whole) == 23


# Held mail.


async def test_a_held_message_is_kept_with_its_bytes(store):
    """Facts and bytes by id; lists show the newest first, by account and state."""
    ours, theirs = held(1), held(2, account="sasl:eve")
    await keep(store, held=(ours, theirs))

    assert await store.held_one(ours.held.id) == ours.held
    assert await store.held_raw(ours.held.id) == ours.raw
    assert await store.held_raw("nobody") is None and await store.held_one("nobody") is None
    assert await store.held() == [theirs.held, ours.held]
    assert await store.held(account="sasl:eve") == [theirs.held]
    assert await store.held(limit=1, before=theirs.held.id) == [ours.held]
    assert await store.held(state="released") == []


async def test_a_large_held_message_is_kept(store):
    """Ten megabytes of any bytes."""
    message = HeldMessage(held(1).held, bytes(range(256)) * 40_000)
    await keep(store, held=(message,), decisions=(decision(1),), outbox=(OutboxItem("k", T0, "notice", "x"),))

    assert await store.held_raw(message.held.id) == message.raw
    assert len(await store.decisions(DecisionSearch())) == 1


async def test_of_many_who_claim_one_gets_it(backend):
    """A claim is exactly one caller's, whichever process it is in."""
    stores = [await backend.open(), await backend.open()]
    message = held(1)
    await keep(stores[0], held=(message,))

    claims = await asyncio.gather(
        *(stores[one % 2].claim_held(message.held.id, now=T0 + 9, lease_s=60.0) for one in range(20))
    )

    assert sum(claims) == 1
    assert await stores[0].held_one(message.held.id) == replace(message.held, state="releasing", changed_at=T0 + 9)
    assert not await stores[0].claim_held("nobody", now=T0, lease_s=60.0)


async def test_a_claim_ends_with_its_lease(store):
    """Who claims and dies does not keep the message for ever."""
    id = held(1).held.id
    await keep(store, held=(held(1),))

    assert await store.claim_held(id, now=T0, lease_s=60.0)
    assert not await store.claim_held(id, now=T0 + 59, lease_s=60.0)
    assert await store.claim_held(id, now=T0 + 60, lease_s=60.0)


@pytest.mark.parametrize("state", ["released", "dropped", "expired"])
async def test_a_settled_message_is_gone_with_an_audit_entry(store, state):
    """Bytes go, the row and who did it stay; it cannot be settled or claimed again."""
    id = held(1).held.id
    await keep(store, held=(held(1),))

    assert not await store.settle_held(id, state, now=T0, audit=audit())
    assert await store.claim_held(id, now=T0, lease_s=60.0)
    assert await store.settle_held(id, state, now=T0 + 5, audit=audit())
    assert not await store.settle_held(id, state, now=T0 + 6, audit=audit())
    assert not await store.claim_held(id, now=T0 + 1000, lease_s=60.0)
    assert await store.held_raw(id) is None
    assert await store.held(state=state) == [replace(held(1).held, state=state, changed_at=T0 + 5)]
    assert await store.audit() == [audit()]


async def test_a_message_that_could_not_be_released_is_held_again(store):
    """Back to `held`, with its bytes, and free to be claimed at once."""
    id = held(1).held.id
    await keep(store, held=(held(1),))
    await store.claim_held(id, now=T0, lease_s=60.0)

    assert await store.settle_held(id, "held", now=T0 + 1, audit=audit())
    assert await store.held_raw(id) == held(1).raw
    assert await store.claim_held(id, now=T0 + 2, lease_s=60.0)


async def test_only_what_is_held_too_long_expires(store):
    """Oldest first; what is being released is left alone."""
    await keep(store, held=tuple(held(number) for number in range(4)))
    await store.claim_held(held(0).held.id, now=T0, lease_s=60.0)

    assert await store.expired_held(before=T0 + 3) == [held(1).held, held(2).held]
    assert await store.expired_held(before=T0 + 3, limit=1) == [held(1).held]


# Audit, outbox, small values.


async def test_audit_entries_come_newest_first(store):
    """By target and time."""
    entries = [audit(number, "abc"[number % 3]) for number in range(9)]
    await keep(store, audit=tuple(entries))

    assert await store.audit() == entries[::-1]
    assert await store.audit(target="b", limit=2) == [entries[7], entries[4]]
    assert await store.audit(before=T0 + 2) == [entries[1], entries[0]]


async def test_an_action_is_queued_once_by_its_key(store):
    """The same key is one action, now, later, and after it was carried out."""
    item = OutboxItem("suspend/joe/1", T0, "notice", "sasl:joe", {"why": "x", "n": 1})
    older = OutboxItem("suspend/eve/1", T0 - 1, "notice", "sasl:eve")
    await keep(store, outbox=(item, item))
    await keep(store, outbox=(replace(item, target="other"), older, OutboxItem("p", T0, "panel", "x")))

    assert await store.outbox(topic="notice") == [older, item]
    assert await store.outbox(topic="notice", limit=1) == [older]
    await store.outbox_done(item.key, at=T0 + 1, outcome="sent")
    await keep(store, outbox=(item,))
    assert await store.outbox(topic="notice") == [older]


async def test_small_values_are_replaced(store):
    """Bytes by name."""
    assert await store.meta("position") is None
    await store.set_meta("position", b"1")
    await store.set_meta("position", b"\0\xff")

    assert await store.meta("position") == b"\0\xff"


async def test_old_decisions_go_with_all_that_belongs_to_them(store):
    """Retention takes decisions, their recipients and answers; what is younger stays."""
    old, young = decision(1), decision(2000)
    await keep(store, decisions=(old, young))
    for row in (old, young):
        await store.delivered(Delivered(row.decision.id, "sasl:joe@example.com", T0, ()))

    assert await store.expire(now=T0, decisions_before=T0 + 1000) == 1
    assert await store.expire(now=T0, decisions_before=T0 + 1000) == 0
    assert await store.decisions(DecisionSearch(rcpt_to="a@example.net")) == [young]
    assert await store.delivery(old.decision.id) is None
    assert await store.delivery(young.decision.id) is not None


async def test_retention_takes_any_number(store):
    """More rows than one step deletes."""
    await keep(store, decisions=tuple(decision(number) for number in range(2100)))

    assert await store.expire(now=T0, decisions_before=T0 + 2099) == 2099
    assert (await store.counts())["decisions"] == 1


async def test_counts_tell_what_is_there(store):
    """Held means still held, outbox means still to be done."""
    empty = {"decisions": 0, "accounts": 0, "held": 0, "outbox": 0, "audit": 0}
    assert await store.counts() == empty
    await keep(
        store,
        decisions=(decision(1), decision(2), decision(3)),
        accounts=(account("sasl:a"), account("sasl:b")),
        held=(held(1), held(2)),
        audit=(audit(),),
        outbox=(OutboxItem("k1", T0, "notice", "x"), OutboxItem("k2", T0, "notice", "x")),
    )
    await store.claim_held(held(1).held.id, now=T0, lease_s=1.0)
    await store.outbox_done("k1", at=T0, outcome="sent")

    assert await store.counts() == {"decisions": 3, "accounts": 2, "held": 1, "outbox": 1, "audit": 1}


# Lasting.


async def test_everything_is_there_after_close_and_open(backend):
    """Also what nobody waited for."""
    store = await backend.open()
    item, row, answer = OutboxItem("k", T0, "notice", "x"), decision(2), Delivered("d1", "sasl:a", T0, ())
    await store.update(
        (put(b"hot", JOE),),
        lambda: Records((decision(1),), (account("sasl:a"),), (held(1),), (audit(),), (item,)),
    )
    await store.set_meta("m", b"v")
    await store.delivered(answer)
    await store.update((put(b"hotter", JOE),), lambda: Records((row,), must_be_durable=False))
    await backend.close()

    again = await backend.open()

    assert await again.read((JOE,)) == {JOE: b"hotter"}
    assert await again.decisions(DecisionSearch()) == [row, decision(1)]
    assert await again.account("sasl:a") == account("sasl:a")
    assert await again.held_raw(held(1).held.id) == held(1).raw
    assert await again.audit() == [audit()]
    assert await again.outbox(topic="notice") == [item]
    assert await again.meta("m") == b"v" and await again.delivery("d1") == answer


async def test_another_process_sees_plain_accepts_soon(backend):
    """Rows of plain accepts are there for all within a moment, though nobody waits for them."""
    ours, theirs = await backend.open(), await backend.open()
    rows = [decision(number) for number in range(100)]
    for row in rows:
        await ours.update((count(JOE),), lambda row=row: Records(decisions=(row,), must_be_durable=False))
    await asyncio.sleep(0.3)

    assert await theirs.decisions(DecisionSearch(limit=200)) == rows[::-1]


async def test_processes_open_the_same_place_at_once(backend):
    """The schema is brought up to date once, however many start together."""
    stores = await asyncio.gather(*(backend.open() for _ in range(5)))
    await keep(stores[0], audit=(audit(),))

    assert [await one.audit() for one in stores] == [[audit()]] * 5


# What came back.


def event(number, *, account="sasl:joe@example.com", at=None, what="bounced"):
    at = T0 + number if at is None else at
    return Event(at, what, account, f"d{number}", "a@example.net", detail="550 no \0 such user", key=f"k{number:03}")


async def test_what_came_back_is_turned_page_by_page(store):
    """Newest first, one account's alone, also where a log has many of one second; and once, however often told."""
    rows = [event(number, at=T0 + number // 4) for number in range(10)]
    await keep(store, events=(*rows, event(99, account="sasl:eve@example.com")))
    await keep(store, events=(rows[3],))

    found, before = [], None
    while page := await store.events("sasl:joe@example.com", limit=3, before=before):
        found += page
        before = (page[-1].at, page[-1].key)

    assert found == rows[::-1]


async def test_what_came_back_goes_with_the_decisions_of_its_time(store):
    """Retention is one."""
    await keep(store, events=tuple(event(number) for number in range(1200)))
    await store.expire(now=T0, decisions_before=T0 + 1199)

    assert await store.events("sasl:joe@example.com") == [event(1199)]
