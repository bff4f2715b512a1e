"""What is learnt about warming, from a real resolver and a real store."""

import pytest
from msgspec.structs import replace

from neighbours.dns import Unbound
from penstock.clients.dns import ResolverSettings, server_of
from penstock.judge.pools import Pool, Pools
from penstock.judge.warmup import DAY_S, WarmUp
from penstock.model import Account, Action, Decision, DecisionRow, Kind, Standing, make_id
from penstock.sending import SendingIp
from penstock.store.memory import MemoryStore
from penstock.store.ports import Records
from penstock.workers.warming import Warming, WarmingSettings, read_seen

T0 = 1_800_000_000.0
NAMES = [
    "shop.example. MX 10 shop-example.mail.protection.outlook.com.",
    "own.example. MX 10 mail.own.example.",
    "claims.example. MX 10 google.com.evil.example.",
    "none.example. A 192.0.2.77",
]
CAPS = WarmUp({"microsoft": (50,), "gmail": (50,), "other": (100,)}, {"outlook.*": "microsoft"})
FRESH, OLD = SendingIp("192.0.2.9", warming_since=T0 - T0 % DAY_S), SendingIp("192.0.2.1")


@pytest.fixture(scope="module")
def resolver():
    unbound = Unbound({}, ["example. 300 SOA ns.example. h.example. 1 2 3 4 60", *NAMES])
    try:
        yield unbound.start()
    finally:
        unbound.stop()


class Around:
    """A store, a clock, and a worker that looks."""

    def __init__(self, resolver, pools):
        self.at, self.number = T0, 0
        self.store = MemoryStore(now=lambda: self.at)
        asked = ResolverSettings((server_of(resolver.address),))
        settings = WarmingSettings(asked, {"outlook.com": "microsoft", "google.com": "gmail"}, 30 * DAY_S)
        self.pools = pools
        self.warming = Warming(settings, pools, self.store, lambda: self.at)

    async def sent(self, *to, ip=FRESH.ip):
        self.number += 1
        account = Account("sasl", "joe@example.com")
        facts = (account, Action.ACCEPT, Action.ACCEPT, Standing.NORMAL, Kind.NORMAL, 0.0)
        one = Decision(make_id(self.at, self.number), self.at, *facts, pool="normal", ip=ip)
        row = DecisionRow(one, "joe@example.com", to, "192.0.2.200", "smtp", "", "", "", 10)
        await self.store.update((), lambda: Records(decisions=(row,)))

    async def now(self):
        return self.pools.as_seen(await read_seen(self.store))


async def test_domains_are_grouped_by_their_mx(resolver):
    """Each is asked once a day; a name that only begins like a receiver's is no receiver's, nor is garbage."""
    around = Around(resolver, Pools(named={"normal": Pool((FRESH, OLD))}, warm_up=CAPS))
    await around.sent("a@shop.example", "b@Own.example", "c@claims.example", "d@outlook.de", "e@none.example", "f@a..b")
    asked = [await around.warming.run_once(), await around.warming.run_once()]
    warm_up = (await around.now()).warm_up

    assert asked == [5, 0]
    assert warm_up.hosted == {"shop.example": "microsoft"}
    assert [warm_up.group_of(f"x@{name}") for name in ("shop.example", "claims.example")] == ["microsoft", "other"]


async def test_nobody_is_asked_while_all_ips_are_warm(resolver):
    """And an IP that has sent nothing for a month begins its warm-up again by itself."""
    around = Around(resolver, Pools(named={"normal": Pool((replace(FRESH, warming_since=0.0), OLD))}, warm_up=CAPS))
    await around.sent("a@shop.example")
    assert await around.warming.run_once() == 0 and not (await around.now()).has_warming(around.at)

    around.at += 20 * DAY_S
    await around.sent("a@shop.example", ip=OLD.ip)
    await around.warming.run_once()
    assert not (await around.now()).has_warming(around.at)

    around.at += 12 * DAY_S
    await around.sent("a@shop.example", ip=OLD.ip)
    await around.warming.run_once()
    warming = {one.ip: one.warming_since for one in (await around.now()).named["normal"].ips}
    assert warming == {FRESH.ip: around.at - around.at % DAY_S, OLD.ip: 0.0}
