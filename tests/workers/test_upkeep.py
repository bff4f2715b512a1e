"""What goes by itself when its time is over."""

import asyncio

from penstock.model import Account, Action, Audit, Decision, DecisionRow, Kind, Standing, make_id
from penstock.people import Grain, Key, Role, TallySearch
from penstock.store.memory import MemoryStore
from penstock.store.ports import Records
from penstock.workers.upkeep import Upkeep, UpkeepSettings

NOW, DAY_S = 1_800_000_000.0, 86400.0


class NoNotices:
    """Nothing to tell."""

    async def run_once(self):
        return 0


def row(number, at):
    who = Account("sasl", "joe", "example.com")
    one = Decision(make_id(at, number), at, who, Action.ACCEPT, Action.ACCEPT, Standing.NORMAL, Kind.NORMAL, 0.0)
    told = ("joe@example.com", ("a@example.net",), "", "smtp", f"Q{number}", f"{number}@example.com", "lunch", 9)
    return DecisionRow(one, *told)


async def test_decisions_counts_and_sessions_go_each_at_its_own_time():
    """One sweep takes all of them; counts outlive their decisions, days outlive minutes."""
    store = MemoryStore(now=lambda: NOW)
    ages = (500, 100, 20, 1)
    await store.update((), lambda: Records(decisions=tuple(row(age, NOW - age * DAY_S) for age in ages)))
    await store.tally(before_id="z")
    said = Audit(NOW, "t", "log-in", "ann")
    for age in (1, -1):
        key = Key(f"d{age}", "session", "ann", Role.READ, NOW - 2 * DAY_S, NOW - age * DAY_S)
        await store.keep_key(key, said)
    trouble = []
    upkeep = Upkeep(
        UpkeepSettings(30 * DAY_S, 90 * DAY_S, 400 * DAY_S), store, NoNotices(),
        lambda *failure: trouble.append(failure), lambda: NOW,
    )  # fmt: skip

    task = asyncio.create_task(upkeep.run())
    async with asyncio.timeout(20):
        while len(await store.keys(kind="session")) == 2:
            await asyncio.sleep(0)
    task.cancel()

    assert not trouble
    assert [one.digest for one in await store.keys(kind="session")] == ["d-1"]
    assert (await store.counts())["decisions"] == 2
    kept = {grain: len(await store.tallies(TallySearch(grain))) for grain in Grain}
    assert kept == {Grain.MINUTES: 1, Grain.DAYS: 3, Grain.TENANT_DAYS: 3}
