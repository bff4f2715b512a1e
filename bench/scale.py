"""Does a message cost more where there are more accounts? Judging over SQLite with a thousand and with a million.

Every account is given the record of one that lived through two months of letters; then letters of accounts drawn at
random are judged. Prints the CPU time of a message for each number of accounts, their ratio, and how large records are.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from penstock.building import make_identity
from penstock.config import Settings
from penstock.judge.policy import Policy
from penstock.judge.rules import Rules
from penstock.model import Connection, Envelope, Mode, Submission, make_id
from penstock.pipeline import Pipeline, Unwatched
from penstock.shipped import load_model, load_replies
from penstock.store.sqlite import SqliteStore

NOW = 1.8e9
DAY = 86400.0
CONTACTS = 300
MESSAGES = 3000


def letter(rng: random.Random, number: int) -> bytes:
    """A short letter whose words differ from others'."""
    words = " ".join(f"{rng.choice('abcdefgh')}{rng.choice(('alpha', 'mill', 'ton', 'ner', 'sel'))}" for _ in range(60))
    head = f"From: me@example.com\r\nTo: you@example.org\r\nSubject: letter {number}\r\n"
    return f"{head}Message-ID: <{number}@example.com>\r\nUser-Agent: Mail 1.0\r\n\r\n{words}.\r\n".encode()


def submission(rng: random.Random, login: str, at: float, number: int) -> Submission:
    """One letter of one account to one of its contacts."""
    connection = Connection(client_ip="192.0.2.7", helo="pc", login=login, listener="smtp")
    envelope = Envelope(login, (f"friend{rng.randrange(CONTACTS)}@example.org",))
    return Submission(make_id(at, number), at, connection, envelope, letter(rng, number))


async def judge_all(path: Path, submissions: Iterable[Submission]) -> float:
    """CPU seconds that judging over a database takes."""
    store = SqliteStore(path, now=lambda: NOW)
    await store.open()
    settings = Settings()
    rules = Rules(
        make_identity(settings), Policy.from_budgets(), Mode.OBSERVE, b"bench", reply_reason=load_replies().reason_of
    )
    gate = Pipeline(store, load_model(settings), rules, Unwatched(), clock=time.perf_counter)
    began = time.process_time()
    for one in submissions:
        await gate.judge(one)
    spent = time.process_time() - began
    await store.close()
    return spent


def measure(path: Path, accounts: int) -> tuple[float, int, int]:
    """CPU seconds of a message among so many accounts, and the bytes of an account's and of a source's record."""
    rng = random.Random(accounts)
    past = (submission(rng, "a0@example.com", NOW - 60 * DAY + number * DAY / 7, number) for number in range(400))
    asyncio.run(judge_all(path, past))
    account, source = fill(path, accounts)
    logins = (f"a{rng.randrange(accounts)}@example.com" for _ in range(MESSAGES))
    letters = [submission(rng, login, NOW + number, 1000 + number) for number, login in enumerate(logins)]
    return asyncio.run(judge_all(path, letters)) / MESSAGES, account, source


def fill(path: Path, accounts: int) -> tuple[int, int]:
    """Give every account the first one's records; returns how many bytes they have."""
    with sqlite3.connect(path) as base:
        rows = base.execute("SELECT key, value, until FROM state WHERE key GLOB '[as]:*'").fetchall()
        for key, value, until in rows:
            copies = ((key.replace("a0@", f"a{number}@"), value, until) for number in range(1, accounts))
            base.executemany("INSERT OR REPLACE INTO state (key, value, until) VALUES (?, ?, ?)", copies)
    sizes = {key[0]: len(value) for key, value, _ in rows}
    return sizes["a"], sizes["s"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, nargs="+", default=[1_000, 1_000_000])
    wanted = parser.parse_args().accounts
    print("| accounts | CPU µs a message | bytes of an account | bytes of a source |\n|---:|---:|---:|---:|")
    costs = []
    for accounts in wanted:
        with tempfile.TemporaryDirectory(prefix="penstock-scale-") as name:
            cost, account, source = measure(Path(name) / "penstock.sqlite", accounts)
        costs.append(cost)
        print(f"| {accounts:,} | {cost * 1e6:.0f} | {account} | {source} |", flush=True)
    print(f"\nratio {costs[-1] / costs[0]:.2f} (target: at most 1.2)")


if __name__ == "__main__":
    main()
