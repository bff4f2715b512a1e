"""The contract about examples: each once, in order, with its audit entry, and undone as if it had never been."""

import asyncio

from msgspec.structs import replace
from test_contract import T0, backend, store  # noqa: F401  # the fixtures of the contract

from penstock.examples import Example, Lesson, Remembered
from penstock.model import Audit, make_id
from penstock.store.ports import ExampleSearch, Records

JOE = "sasl:joe@example.com"


def lesson(number=1, **more):
    given = {
        "id": make_id(T0 + number, number), "at": T0 + number, "who": "ann", "is_abuse": False, "account": JOE,
        "tenant": "example.com", "origin": "file", "digest": f"d{number}", "format": 1, "log_odds": 3.0,
    } | more  # fmt: skip
    return Lesson(Example(**given), b"traits %d" % number)


def audit(one, what="learn-legit"):
    return Audit(one.example.at, one.example.who, what, one.example.account)


async def learn(node, *lessons):
    return await node.learn(lessons, [audit(one) for one in lessons])


async def test_examples_come_back_in_the_order_of_learning(store):  # noqa: F811
    """With what they teach, page by page; the version tells that there are more."""
    before = await store.learnt_version()
    first, second, third = lesson(3), lesson(1), lesson(2)

    assert await learn(store, first, second) == [first.example.id, second.example.id]
    assert await learn(store, third) == [third.example.id]

    found = await store.lessons(after=0, limit=2)
    found += await store.lessons(after=found[-1].number, limit=2)
    assert [replace(one, number=0) for one in found] == [first, second, third]
    assert await store.learnt_version() == (before[0], found[-1].number)
    assert len(await store.audit(target=JOE)) == 3


async def test_what_was_said_before_is_no_news(store):  # noqa: F811
    """The same digest with the same label is left out, with its audit entry, whoever says it."""
    await learn(store, lesson(1))

    assert await learn(store, lesson(2, digest="d1", who="bob"), lesson(3)) == [lesson(3).example.id]
    assert len(await store.audit()) == 2
    assert len(await store.lessons(after=0, limit=9)) == 2


async def test_another_label_or_a_greater_weight_takes_the_place(store):  # noqa: F811
    """The later word counts; the earlier one is undone by it and running processes learn anew."""
    await learn(store, lesson(1, weight=0.25, is_abuse=True))
    generation, _ = await store.learnt_version()
    await learn(store, lesson(2, digest="d1", is_abuse=True))
    await learn(store, lesson(3, digest="d1", is_abuse=True, weight=0.25))
    await learn(store, lesson(4, digest="d1"))

    assert [one.example.id for one in await store.lessons(after=0, limit=9)] == [lesson(4).example.id]
    assert (await store.learnt_version())[0] == generation + 2
    undone = await store.examples(ExampleSearch(with_undone=True))
    assert [one.undone_at for one in undone] == [0.0, T0 + 4, T0 + 2]


async def test_examples_are_found_by_whose_and_who_and_since(store):  # noqa: F811
    """Newest first, one page after another."""
    rows = [
        lesson(1), lesson(2, account="sasl:sue@example.org", tenant="example.org"), lesson(3, who="bob"), lesson(4)
    ]  # fmt: skip
    await learn(store, *rows)
    ids = [one.example.id for one in rows]

    async def found(**search):
        return [ids.index(one.id) + 1 for one in await store.examples(ExampleSearch(**search))]

    assert await found() == [4, 3, 2, 1]
    assert await found(limit=2) == [4, 3]
    assert await found(before=ids[2]) == [2, 1]
    assert await found(account=JOE) == [4, 3, 1]
    assert await found(tenant="example.org") == [2]
    assert await found(who="bob") == [3]
    assert await found(since=T0 + 3) == [4, 3]
    assert await found(ids=(ids[0], ids[3])) == [4, 1]


async def test_an_undone_example_is_gone_and_may_be_learnt_again(store):  # noqa: F811
    """Undoing twice counts once; each has its audit entry."""
    one = lesson(1)
    await learn(store, one, lesson(2))
    version = await store.learnt_version()
    ids = [one.example.id, "nobody"]
    entries = [Audit(T0 + 9, "ann", "undo-example", JOE), Audit(T0 + 9, "ann", "undo-example", "nobody")]

    assert await store.undo_examples(ids, at=T0 + 9, audit=entries) == 1
    assert await store.undo_examples(ids, at=T0 + 10, audit=entries) == 0

    assert [found.example.digest for found in await store.lessons(after=0, limit=9)] == ["d2"]
    assert (await store.learnt_version())[0] == version[0] + 1
    assert [entry.what for entry in await store.audit(target=JOE)].count("undo-example") == 1
    assert len(await learn(store, lesson(3, digest="d1"))) == 1


async def test_what_is_remembered_comes_with_its_decision(store):  # noqa: F811
    """It is written with the update's records, and forgotten after its time, as examples are."""
    kept = Remembered("id1", T0, 1, 2.5, b"traits")
    await store.update((), lambda: Records(remembered=(kept, replace(kept, decision_id="id2", at=T0 + 60))))
    await learn(store, lesson(1), lesson(2))
    version = await store.learnt_version()

    assert await store.remembered("id1") == kept
    assert await store.remembered("id3") is None
    assert await store.expire_learnt(examples_before=T0 + 2, remembered_before=T0 + 60) == 2
    assert await store.remembered("id1") is None
    assert await store.remembered("id2") is not None
    assert [one.example.digest for one in await store.lessons(after=0, limit=9)] == ["d2"]
    assert (await store.learnt_version())[0] == version[0] + 1


async def test_another_process_sees_it(backend):  # noqa: F811
    """All processes and nodes share the examples; who learns at the same time is taken one after the other."""
    one, other = await backend.open(), await backend.open()

    taken = await asyncio.gather(*(learn(node, lesson(n % 5)) for n, node in enumerate([one, other] * 10)))

    assert sum(map(len, taken)) == 5
    assert await one.lessons(after=0, limit=9) == await other.lessons(after=0, limit=9)
    assert await one.learnt_version() == await other.learnt_version()
