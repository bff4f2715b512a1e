"""A process that forks enforcers, one for each line on its input: `python -m tests.workers.enforcer STORE URL`.

Each child plans and carries out until it is killed. Time runs two hundred times as fast, so that pauses are short.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from tests.workers.follower import made

from penstock.clients.drivers.signed import Signed
from penstock.clients.webhook import Webhook
from penstock.model import Rung
from penstock.store.sqlite import SqliteStore
from penstock.workers.enforcement import EnforcementSettings, Lane, Planner

BEGAN = 1.8e9
FASTER = 200.0


def now():
    return BEGAN + (time.time() - BEGAN) * FASTER


async def enforce(path, url):
    store = SqliteStore(Path(path))
    await store.open()
    pipeline, _ = made(store)
    drivers = {"panel": Signed(Webhook(url, "s3cret"), frozenset(Rung))}
    planner = Planner(EnforcementSettings(True), drivers, store, pipeline, hostname="mx1", now=now)
    lane = Lane("panel", drivers["panel"], store, now, holder="mx1", give_up_s=1e12)
    while True:
        await planner.run_once()
        await lane.run_once()
        await asyncio.sleep(0.002)


def main(path, url):
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(enforce(path, url))
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
