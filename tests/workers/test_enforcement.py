"""Suspensions reach the places where accounts live: once, in order, however long a panel is down."""

import pytest
from tests.workers.follower import made
from tests.workers.panel import Panel

from penstock.judge.ladder import read_never
from penstock.model import OutboxItem, Rung, Standing
from penstock.store.memory import MemoryStore
from penstock.store.ports import Records
from penstock.workers.enforcement import EnforcementSettings, Lane, Planner, topic_of

JOE = "sasl:joe@shop.example"
HOUR_S = 3600.0


class House:
    """A store, a pipeline, a panel, and the two halves of enforcement, with a clock to turn."""

    def __init__(self, panel=None, store=None, **settings):
        self.now = 1.8e9
        self.store = store or MemoryStore()
        self.pipeline, _ = made(self.store)
        self.panel = panel or Panel()
        drivers = {"panel": self.panel}
        settings = EnforcementSettings(**({"acts": True} | settings))
        self.planner = Planner(settings, drivers, self.store, self.pipeline, hostname="mx1", now=lambda: self.now)
        self.lane = self.new_lane()

    def new_lane(self, holder="mx1"):
        return Lane("panel", self.panel, self.store, lambda: self.now, holder=holder, give_up_s=72 * HOUR_S)

    async def set(self, standing, account=JOE):
        self.now += 1.0
        await self.pipeline.steer(account, standing, who="ann", reason="pills", now=self.now)

    async def work(self, account=None):
        await self.planner.run_once()
        return await self.lane.run_once()

    async def said(self, what, target=JOE):
        return [one for one in await self.store.audit(target=target) if one.what == what]


async def test_a_suspension_is_carried_out_once_and_its_end_too():
    """Whoever looks how often; with an audit entry for each."""
    house = House()
    await house.set(Standing.SUSPENDED)
    assert await house.work() == 1
    assert await house.work() == 0
    await house.set(None)
    assert await house.work() == 1
    assert house.panel.calls == [("shut", "mailbox joe@shop.example"), ("open", "mailbox joe@shop.example")]
    assert len(await house.said("shut-mailbox")) == len(await house.said("open-mailbox")) == 1


async def test_an_account_without_a_suspension_costs_nothing():
    """Other standings are no occasion."""
    house = House()
    await house.set(Standing.TRUSTED)
    assert await house.store.outbox(topic="enforce") == []


async def test_a_panel_that_is_down_for_days_gets_every_step_in_the_end():
    """It is asked less and less often, and alarm is raised once; the order of an account's steps is kept."""
    house = House()
    house.panel.is_down = True
    await house.set(Standing.SUSPENDED)
    await house.work()
    await house.set(None)
    await house.work()
    await house.set(Standing.SUSPENDED)
    for _ in range(4 * 24 * 4):
        house.now += 900.0
        await house.work()
    alarms = [one for one in await house.store.outbox(topic="notice") if one.payload["what"] == "driver"]
    assert len(alarms) == 1, "whatever fails how often"
    house.panel.is_down = False
    house.now += HOUR_S
    await house.work()
    assert [verb for verb, _ in house.panel.calls] == ["shut", "open", "shut"]


async def test_what_is_refused_keeps_nobody_else_waiting_and_is_given_up_in_the_end():
    """One account is unknown there; it is told at once, and its steps end after three days."""
    house = House()
    house.panel.refuses.add("joe@shop.example")
    await house.set(Standing.SUSPENDED)
    await house.set(Standing.SUSPENDED, "sasl:ann@shop.example")
    assert await house.work() == 1
    told = await house.store.outbox(topic="notice")
    assert [one.payload["reason"] for one in told if one.payload["what"] == "driver"] == [
        "cannot shut mailbox joe@shop.example: no such account"
    ]
    house.now += 73 * HOUR_S
    await house.work()
    assert await house.store.outbox(topic=topic_of("panel")) == []
    assert len(await house.said("shut-given-up")) == 1


async def test_a_driver_with_a_fault_keeps_nobody_else_waiting():
    """It is told like a refusal, and tried again."""
    house = House()
    real = house.panel.carry_out

    async def faulty(step):
        if step.account == JOE:
            raise KeyError("uapi")
        return await real(step)

    house.panel.carry_out = faulty
    await house.set(Standing.SUSPENDED)
    await house.set(Standing.SUSPENDED, "sasl:ann@shop.example")
    assert await house.work() == 1
    told = [one.payload["reason"] for one in await house.store.outbox(topic="notice") if "driver" in one.payload]
    assert len(told) == 1 and "KeyError" in told[0]
    house.panel.carry_out, house.now = real, house.now + 60.0
    assert await house.work() == 1


async def test_a_crash_between_record_and_steps_is_made_good():
    """The record says that its steps were not queued; the next look queues them, under the same keys."""
    house = House()
    await house.set(Standing.SUSPENDED)
    real, house.store.outbox_done = house.store.outbox_done, None
    queue, house.planner._queue = house.planner._queue, None
    with pytest.raises(TypeError):
        await house.planner.run_once()
    house.planner._queue, house.store.outbox_done = queue, real
    assert await house.work() == 1
    assert house.panel.shut


async def test_observing_and_a_dry_run_write_down_what_would_be_done():
    """Nothing is queued, nothing is asked of the panel."""
    house = House(acts=False)
    await house.set(Standing.SUSPENDED)
    assert await house.work() == 0
    assert house.panel.calls == []
    (entry,) = await house.said("would-shut")
    assert entry.detail == "panel: shut mailbox joe@shop.example"


async def test_what_may_never_be_shut_is_not():
    """Though a person suspended it here."""
    house = House(never=read_never([], ["joe@shop.example"], []))
    await house.set(Standing.SUSPENDED)
    await house.work()
    assert house.panel.calls == []


async def test_a_domain_opens_with_the_account_that_shut_it_unless_another_needs_it_shut():
    """Three suspended mailboxes shut the domain; the first that is released opens its own mailbox alone."""
    house = House(domain_after=3)
    for name in ("ann", "bob", "cid"):
        await house.set(Standing.SUSPENDED, f"sasl:{name}@shop.example")
        await house.work()
    assert {str(one) for one in house.panel.shut} == {
        "mailbox ann@shop.example",
        "mailbox bob@shop.example",
        "domain shop.example",
    }
    await house.set(None, "sasl:ann@shop.example")
    await house.work()
    await house.set(None, "sasl:cid@shop.example")
    await house.work()
    assert {str(one) for one in house.panel.shut} == {"mailbox bob@shop.example"}


async def test_a_script_is_opened_at_a_panel_without_scripts_only_when_its_sibling_may_send_too():
    """Both shut the same account there."""
    house = House(Panel(frozenset({Rung.ACCOUNT})))
    first, second = "script:/home/x/a.php", "script:/home/x/b.php"
    await house.set(Standing.SUSPENDED, first)
    await house.set(Standing.SUSPENDED, second)
    await house.work()
    await house.set(None, first)
    await house.work()
    assert {str(one) for one in house.panel.shut} == {"account x"}
    await house.set(None, second)
    await house.work()
    assert not house.panel.shut


async def test_of_two_nodes_one_has_the_lane():
    """The other takes over once the first has been silent for long."""
    house = House()
    other = house.new_lane("mx2")
    await house.set(Standing.SUSPENDED)
    assert await house.work() == 1
    await house.set(None)
    await house.planner.run_once()
    assert await other.run_once() == 0
    house.now += 500.0
    assert await other.run_once() == 1


async def test_an_occasion_that_comes_late_changes_nothing():
    """What counts is the standing as it is."""
    house = House()
    item = OutboxItem("enforce/old", 1.0, "enforce", JOE, {"standing": "suspended"})
    await house.store.update((), lambda: Records(outbox=(item,)))
    assert await house.work() == 0
    assert await house.store.outbox(topic="enforce") == []
