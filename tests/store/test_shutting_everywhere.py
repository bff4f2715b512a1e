"""Shutting and letting in over every backend: the record, the steps, the lane, probation and the breaker."""

from msgspec.structs import replace
from test_contract import backend, store  # noqa: F401  # the fixtures of the contract
from tests.workers.test_enforcement import JOE, House

from penstock.judge import limits
from penstock.judge.breaker import KEY, Breaker, suspended_lately
from penstock.judge.shutting import read_shut
from penstock.model import Event, Standing


async def test_a_suspension_and_its_end_are_carried_out_once(store):  # noqa: F811
    """Whichever store remembers it; of two nodes one has the lane."""
    house = House(store=store)
    await house.set(Standing.SUSPENDED)
    assert await house.work() == 1
    assert await house.work() == 0
    record = read_shut((await store.read((f"x:{JOE}",)))[f"x:{JOE}"])
    assert record.is_shut and record.is_queued and record.strikes == 1
    house.now += 60.0
    assert await house.pipeline.absorb(Event(house.now, "password-changed", JOE)) is Standing.NORMAL
    await house.planner.run_once()
    assert await house.new_lane("mx2").run_once() == 0
    assert await house.lane.run_once() == 1
    assert house.panel.calls == [("shut", "mailbox joe@shop.example"), ("open", "mailbox joe@shop.example")]
    counts = limits.decode((await store.read((f"l:{JOE}",)))[f"l:{JOE}"])
    assert [one.most for one in counts.overrides] == [50]


async def test_suspensions_of_all_processes_are_counted_together(store):  # noqa: F811
    """The breaker's state is one."""
    nodes = [House(store=store) for _ in range(2)]
    for node in nodes:
        node.pipeline._rules = replace(node.pipeline._rules, breaker=Breaker(0.01, 2))
        await node.pipeline.note_suspension(node.now)
    assert len(suspended_lately((await store.read((KEY,)))[KEY], nodes[0].now)) == 2
    await nodes[0].pipeline.look_at_breaker(nodes[0].now)
    assert not nodes[0].pipeline._rules.policy.may_suspend
    assert [one.payload["what"] for one in await store.outbox(topic="notice")] == ["breaker"]
