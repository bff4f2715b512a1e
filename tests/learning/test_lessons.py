"""From what people and receivers say to every running process's verdicts, and back again."""

import asyncio
from random import Random

from penstock.building import make_rules
from penstock.config import Settings
from penstock.judge.learnt import Bounds, Taught
from penstock.judge.message import parse
from penstock.learning import CatchUp, Lessons, Said, is_telling
from penstock.model import Connection, Envelope, Event, Evidence, Kind, Submission, Verdict, make_id
from penstock.pipeline import Pipeline, Unwatched
from penstock.store.memory import MemoryStore
from penstock.store.ports import ExampleSearch, StoreUnavailable

NOW = 1_800_000_000.0
ENVELOPE = Envelope("shop@example.com", ("ann@example.org",))
count = iter(range(10**9))


class Seed:
    """A content model with a false alarm: it holds whatever names a sale for abuse."""

    def weigh(self, parsed, raw, envelope):
        odds = 3.0 if "sale" in parsed.text else -3.0
        return Verdict(odds, Kind.NORMAL, evidence=(Evidence("rest", odds),))


def newsletter(number, domain="example.com"):
    news = " ".join(Random(number).choices("tulips roses lilies asters daisies violets orchids peonies".split(), k=20))
    frame = "You receive this newsletter about the great sale because you ordered at our flower shop last year."
    foot = "To leave the list write to the flower shop in the old town and we answer within a working day."
    head = f"From: shop@{domain}\r\nSubject: news {number}\r\nMessage-ID: <{number}@x>\r\n"
    return f"{head}\r\n{frame}\r\n{news}\r\n{foot}\r\n".encode()


def new_id(now):
    return make_id(now, next(count))


class House:
    """One store, and as many processes as a test likes."""

    def __init__(self):
        self.store = MemoryStore(now=lambda: NOW)
        self.lessons = Lessons(self.store, Seed(), new_id)

    def process(self):
        taught = Taught(Seed())
        return taught, CatchUp(self.store, taught, Bounds(), raising, 0.01)

    async def teach(self, raws, **more):
        said = Said(**({"who": "ann", "is_abuse": False, "at": NOW} | more))
        return await self.lessons.take(self.lessons.of_raw(raw, said) for raw in raws)


def raising(where, trouble):
    raise trouble


def odds(taught, raw):
    return taught.weigh(parse(raw), raw, ENVELOPE).log_odds


async def test_every_process_learns_and_unlearns():
    """Both follow the store; what is undone leaves each verdict exactly as it was."""
    house = House()
    (one, first), (other, second) = house.process(), house.process()
    assert not await first.once()
    probes = [newsletter(50), b"Subject: x\r\n\r\nDear Ann, see you on Monday at the station.\r\n"]
    before = [odds(one, raw) for raw in probes]

    await house.teach([newsletter(1), newsletter(2)])
    assert await first.once()
    await second.once()
    learnt = [odds(one, raw) for raw in probes]
    assert learnt[0] < 1.5 < before[0]
    assert learnt == [odds(other, raw) for raw in probes]
    ids = await house.teach([newsletter(3)], who="bob")
    await first.once()
    assert odds(one, probes[0]) < learnt[0]

    assert await house.lessons.undo(ExampleSearch(who="bob"), who="ann", reason="wrong", now=NOW + 9) == 1
    await first.once()
    assert [odds(one, raw) for raw in probes] == learnt
    assert (
        await house.lessons.undo(ExampleSearch(account="sender:shop@example.com"), who="ann", reason="", now=NOW) == 2
    )
    await first.once()
    assert [odds(one, raw) for raw in probes] == before
    told = [(entry.who, entry.what) for entry in await house.store.audit(target="sender:shop@example.com")]
    assert told.count(("ann", "learn-legit")) == 2
    assert told.count(("ann", "undo-example")) == 3
    assert len(ids) == 1


async def test_a_process_that_learns_as_it_goes_equals_one_that_starts_late():
    """One example at a time or all at once: the same scorer."""
    house = House()
    (early, steps), (late, leap) = house.process(), house.process()
    for number in range(6):
        await house.teach([newsletter(number)])
        await steps.once()
    await leap.once()

    assert odds(early, newsletter(99)) == odds(late, newsletter(99))


async def test_the_same_message_is_learnt_once():
    """Said again it is no news, and adds nothing."""
    house = House()
    taught, catch_up = house.process()

    assert len(await house.teach([newsletter(1)] * 50)) == 1
    await catch_up.once()
    after = odds(taught, newsletter(1))
    assert await house.teach([newsletter(1)], who="bob") == []
    assert not await catch_up.once()
    assert odds(taught, newsletter(1)) == after


async def test_a_running_process_asks_by_itself_and_outlives_a_store_that_is_away():
    """Judging goes on by what was learnt before."""
    house = House()
    taught, _ = house.process()
    troubles = []
    catch_up = CatchUp(house.store, taught, Bounds(), lambda where, trouble: troubles.append(trouble), 0.01)
    version = house.store.learnt_version

    async def away():
        raise StoreUnavailable("away")

    house.store.learnt_version = away
    task = asyncio.create_task(catch_up.run())
    async with asyncio.timeout(10):
        while not troubles:
            await asyncio.sleep(0.01)
        house.store.learnt_version = version
        await house.teach([newsletter(1)])
        while taught.learnt is None:
            await asyncio.sleep(0.01)
    task.cancel()
    assert odds(taught, newsletter(2)) < 3.0


def test_a_message_that_says_nothing_is_not_telling():
    """Two words are everybody's."""
    lessons = House().lessons
    said = Said("ann", True, NOW)

    assert not is_telling(lessons.of_raw(b"From: a@b.example\r\n\r\nhi there\r\n", said))
    assert is_telling(lessons.of_raw(newsletter(1), said))


def gate(house, content, **more):
    settings = Settings.model_validate({"judge": {"mode": "observe"}} | more)
    rules = make_rules(settings, b"k" * 32)
    return Pipeline(house.store, content, rules, Unwatched(), clock=lambda: 0.0, lessons=house.lessons)


def submission(raw, login="shop@example.com"):
    connection = Connection(client_ip="192.0.2.7", peer_ip="192.0.2.7", login=login, listener="smtp")
    return Submission(new_id(NOW), NOW, connection, ENVELOPE, raw)


async def test_a_complaint_teaches_weakly_what_looked_suspicious():
    """The example is the decision's message, though that is not kept; of harmless mail nothing is."""
    house = House()
    taught, catch_up = house.process()
    pipeline = gate(house, taught)
    suspicious = await pipeline.judge(submission(newsletter(1)))
    harmless = await pipeline.judge(submission(newsletter(2).replace(b"sale", b"garden")))

    for decision in (suspicious, harmless):
        await pipeline.absorb(Event(NOW + 60, "complaint", decision_id=decision.id, detail="spam"))

    (example,) = await house.store.examples(ExampleSearch())
    assert (example.who, example.origin, example.weight) == ("complaints", "complaint", 0.25)
    assert (example.account, example.tenant) == ("sasl:shop@example.com", "example.com")
    await catch_up.once()
    assert 0 <= odds(taught, newsletter(9)) - 3.0 < 1.0


async def test_a_person_outweighs_complaints():
    """What a person says of the same message takes the complaint's place."""
    house = House()
    taught, catch_up = house.process()
    decision = await gate(house, taught).judge(submission(newsletter(1)))
    await house.lessons.complaint(Event(NOW, "complaint", decision_id=decision.id))

    lesson = await house.lessons.of_decision(decision.id, Said("ann", False, NOW + 9))
    assert len(await house.lessons.take([lesson])) == 1
    await catch_up.once()

    assert odds(taught, newsletter(1)) < 1.5
    assert [one.who for one in await house.store.examples(ExampleSearch())] == ["ann"]
    assert await house.lessons.of_decision("nothing", Said("ann", False, NOW)) is None
