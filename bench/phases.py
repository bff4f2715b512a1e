"""Where the CPU of a judged message goes: each phase alone, in one process, on the load generator's 4 KB letter."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from bench.source import four_kilobytes
from penstock.building import make_rules
from penstock.config import Settings
from penstock.judge.hearing import Content, hear
from penstock.judge.rules import Rules
from penstock.model import Connection, DecisionRow, Delivered, Envelope, Opening, Submission, make_id
from penstock.pipeline import Pipeline, Unwatched
from penstock.service import LoggingWatcher
from penstock.shipped import load_model
from penstock.store.memory import MemoryStore
from penstock.store.ports import Store
from penstock.store.sqlite import SqliteStore
from penstock.watch import Watch, configure_log

_AT_ONCE = 8
_RAW = four_kilobytes()[:-3]
_numbers = itertools.count()


class _Keep(Unwatched):
    """Keeps the last row, to be logged by itself."""

    row: DecisionRow | None = None

    def decided(self, row: DecisionRow, judged_s: float) -> None:
        self.row = row


def _submission() -> Submission:
    at, number = time.time(), next(_numbers)
    connection = Connection(client_ip="192.0.2.1", login=f"user{number % 50}@example.com", listener="smtp")
    return Submission(make_id(at, number), at, connection, Envelope("joe@example.com", ("ann@example.org",)), _RAW)


def measured(count: int) -> list[tuple[str, float]]:
    """(phase, CPU µs a message); the least of some rounds each."""
    settings = Settings()
    rules, model, watcher = make_rules(settings, b"bench"), load_model(settings), _Keep()
    hearing = _least(count, lambda: [hear(_submission(), model, rules) for _ in range(count)])
    memory = _least(count, lambda: uvloop.run(_judge_all(MemoryStore(), rules, model, watcher, count)))
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        numbers = itertools.count()
        sqlite = _least(
            count,
            lambda: uvloop.run(
                _judge_all(SqliteStore(Path(name) / f"{next(numbers)}.sqlite"), rules, model, watcher, count)
            ),
        )
    return [
        ("read and weigh (hear)", hearing),
        ("turns, decision and rows, over memory", memory - hearing),
        ("SQLite instead of memory", sqlite - memory),
        ("log line and counters", _least(count, lambda: _log_all(watcher.row, count))),
    ]


async def _judge_all(store: Store, rules: Rules, model: Content, watcher: _Keep, count: int) -> None:
    await store.open()
    pipeline = Pipeline(store, model, rules, watcher, clock=time.perf_counter)

    async def some() -> None:
        for _ in range(count // _AT_ONCE):
            one = _submission()
            await pipeline.admit(Opening(one.connection, "joe@example.com", one.received_at))
            decision = await pipeline.judge(one)
            replies = (("ann@example.org", 250, "Ok"),)
            await pipeline.delivered(Delivered(decision.id, str(decision.account), one.received_at, replies))

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    await store.close()


def _log_all(row: DecisionRow | None, count: int) -> None:
    assert row is not None
    errors, sys.stderr = sys.stderr, open(os.devnull, "w")  # noqa: SIM115
    try:
        configure_log("info", "json")
        watcher = LoggingWatcher(Watch(None))
        for _ in range(count):
            watcher.decided(row, 0.001)
    finally:
        sys.stderr.close()
        sys.stderr = errors


def _least(count: int, work: Callable[[], object]) -> float:
    """CPU µs a message, of all threads."""
    found = []
    for _ in range(3):
        began = time.process_time()
        work()
        found.append((time.process_time() - began) / count * 1e6)
    return min(found)


def table(door_us: float, count: int) -> list[str]:
    """A section of the report; `door_us` is the relay's share, without judging."""
    rows = [("relay, in and out, without judging", door_us), *measured(count)]
    whole = sum(one for _, one in rows)
    lines = ["## Where the CPU of a judged message goes (4 KB)", "", "| phase | CPU µs | share |", "|---|---:|---:|"]
    lines += [f"| {name} | {one:.0f} | {one / whole:.0%} |" for name, one in rows]
    return [*lines, ""]


if __name__ == "__main__":
    print("\n".join(table(0.0, 800)))
