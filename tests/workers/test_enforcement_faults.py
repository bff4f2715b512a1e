"""Proof of enforcement: killed at random, before a panel that is down, or dies half done, each step arrives, once."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys

from tests.workers.enforcer import now
from tests.workers.follower import made

from neighbours.panel_http import PanelHttp
from penstock.model import Standing
from penstock.store.sqlite import SqliteStore
from penstock.workers.enforcement import topic_of

KILLS = int(os.environ.get("PENSTOCK_KILLS", "30"))
ACCOUNTS = [f"sasl:joe@shop{number}.example" for number in range(6)]


class FaultyPanel:
    """Knows what is shut, and every change in order; answers badly in a third of all cases."""

    def __init__(self, rng):
        self._rng = rng
        self.shut, self.changes, self.asked = set(), [], []
        self.is_down = False
        self.faults = True
        self.requests = 0

    def answer(self, request):
        """What a panel does, and what its client hears of it."""
        self.requests += 1
        fault = self._rng.choice(["down", "half", "busy", "", "", "", "", ""]) if self.faults else ""
        if self.is_down or fault == "down":
            return None
        if fault == "busy":
            return 503, ""
        step = json.loads(request.body)
        self.asked.append((step["account"], request.headers["idempotency-key"], step["verb"]))
        name = step["thing"]["name"]
        if (step["verb"] == "shut") != (name in self.shut):
            (self.shut.add if step["verb"] == "shut" else self.shut.discard)(name)
            self.changes.append((step["account"], step["verb"]))
        return None if fault == "half" else (200, "")


async def steer_at_random(pipeline, store, rng):
    """Somebody suspends and releases accounts all the time."""
    while True:
        account = rng.choice(ACCOUNTS)
        row = await store.account(account)
        standing = None if row is not None and row.standing is Standing.SUSPENDED else Standing.SUSPENDED
        await pipeline.steer(account, standing, who="ann", reason="drill", now=now())
        await asyncio.sleep(rng.uniform(0.0, 0.08))


async def killed_at_random(spawner, rng, panel, steering):
    """Start an enforcer, let it ask the panel a few times, kill it; now and then with the panel down all the while."""
    for number in range(KILLS):
        assert not steering.done(), steering.exception()
        spawner.stdin.write(b"go\n")
        child = int(await asyncio.wait_for(spawner.stdout.readline(), 30))
        panel.is_down = number % 7 == 3
        enough = panel.requests + rng.randrange(6)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while panel.requests < enough:
                    await asyncio.sleep(0.002)
        await asyncio.sleep(rng.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert (await asyncio.wait_for(spawner.stdout.readline(), 30)).strip() == b"ended"


async def test_every_step_arrives_once_and_in_order_whatever_fails(tmp_path):
    """In the end the panel's state is what the standings say; each account's steps came in order, none was left out."""
    rng = random.Random(5)
    panel = FaultyPanel(rng)
    store = SqliteStore(tmp_path / "p.sqlite")
    await store.open()
    pipeline, _ = made(store)
    async with PanelHttp(panel.answer) as http:
        spawner = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.workers.enforcer", str(tmp_path / "p.sqlite"), f"{http.url}/shut",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        steering = asyncio.create_task(steer_at_random(pipeline, store, rng))
        try:
            async with asyncio.timeout(30.0 + 3.0 * KILLS):
                await killed_at_random(spawner, rng, panel, steering)
            steering.cancel()
            await asyncio.gather(steering, return_exceptions=True)
            panel.is_down = panel.faults = False
            spawner.stdin.write(b"go\n")
            last = int(await asyncio.wait_for(spawner.stdout.readline(), 30))
            async with asyncio.timeout(60):
                while await store.outbox(topic="enforce") or await store.outbox(topic=topic_of("panel")):
                    await asyncio.sleep(0.05)
            os.kill(last, signal.SIGKILL)
        finally:
            steering.cancel()
            spawner.kill()
            await spawner.wait()
    rows = [await store.account(account) for account in ACCOUNTS]
    await store.close()
    wanted = {row.account for row in rows if row is not None and row.standing is Standing.SUSPENDED}
    assert {f"sasl:{name}" for name in panel.shut} == wanted
    for account in ACCOUNTS:
        keys = [key for name, key, _ in panel.asked if name == account]
        in_order = list(dict.fromkeys(keys))
        numbers = [int(key.rsplit("/", 3)[1]) for key in in_order]
        assert numbers == sorted(numbers), "in order, and none again after its successor"
        assert keys == sorted(keys, key=in_order.index), "what is repeated is repeated before the next"
        verbs = [verb for name, verb in panel.changes if name == account]
        assert len(verbs) == len(in_order), "as the panel's state sees it, each step was done exactly once"
        assert verbs == [("shut", "open")[place % 2] for place in range(len(verbs))]
    assert len(panel.changes) > KILLS / 4, "something was done at all"
