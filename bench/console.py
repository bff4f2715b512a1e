"""How long every page of the console takes over a million accounts and ten million decisions.

Each page is asked for again and again, with accounts, recipients and ids drawn at random, and answered by the whole
site in this process: routes, session, queries, page. `console_data` writes the rows, into SQLite or into a PostgreSQL
with a Redis that are started for it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import psycopg
from tests.store.servers import Postgres, Redis, make_folder

from bench.console_data import ACTED, DAYS, NOW, TENANTS, Told, account_of, fill_postgres, fill_sqlite
from penstock.config import StoreSection, parse_settings
from penstock.console.app import make_app
from penstock.console.entrance import hash_password
from penstock.judge.reference import make_link
from penstock.model import Audit, Held, make_id
from penstock.people import Person, Role
from penstock.service import Service
from penstock.store.ports import HeldMessage, Records
from penstock.watch import Watch

PASSWORD = "correct horse battery"
SETTINGS = """
[console]
listen = ["127.0.0.1:0"]
secure_cookies = false
[judge]
mode = "enforce"
[[pools.named.normal.ips]]
ip = "192.0.2.1"
[store]
path = "PLACE/penstock.sqlite"
"""
SERVERS = """
valkey = "{valkey}"
postgres = "{postgres}"
"""


Row = tuple[str, float, float, float, float]


def fill(store: StoreSection, accounts: int, count: int, rng: random.Random, told: Told) -> None:
    """Write everything."""
    if store.postgres:
        fill_postgres(store.postgres, accounts, count, rng, told)
    else:
        fill_sqlite(store.path, accounts, count, rng, told)


def size_of(store: StoreSection) -> int:
    """Bytes on disk."""
    if not store.postgres:
        return store.path.stat().st_size
    with psycopg.connect(store.postgres) as connection:
        return int(connection.execute("SELECT pg_database_size(current_database())").fetchone()[0])


async def furnish(service: Service, rng: random.Random, accounts: int) -> None:
    """People, held mail and an audit."""
    store = service.store
    for name, tenant in (("ann", ""), ("reseller", account_of(0)[1])):
        person = Person(name, Role.ADMIN, hash_password(PASSWORD), tenant)
        await store.keep_person(person, Audit(NOW, "bench", "add-person", name))
    raw = b"From: a@example.com\r\nSubject: kept\r\n\r\nAbout the order of this week.\r\n"
    held, audit = [], []
    for n in range(2000):
        account = account_of(rng.randrange(accounts))[0]
        id = make_id(NOW - n, n)
        one = Held(id, id, account, NOW - n, account[5:], ("r@example.org",), len(raw), "PS-CONTENT", subject="kept")
        held.append(HeldMessage(one, raw))
        audit.append(Audit(NOW - n, "ann", "note", account, "about it"))
    await store.update((), lambda: Records(held=tuple(held), audit=tuple(audit)))


def pages(service: Service, rng: random.Random, accounts: int, count: int) -> dict[str, Callable[[], str]]:
    """What is asked for, each time with another account or id."""
    step = DAYS * 86400.0 / count

    def account() -> str:
        return account_of(rng.randrange(accounts))[0]

    def id() -> str:
        n = rng.randrange(count)
        return make_id(NOW - DAYS * 86400.0 + n * step, n)

    key = service.rules.reference_key
    held = [make_id(NOW - n, n) for n in range(2000)]
    return {
        "Now": lambda: "/",
        "Accounts": lambda: "/accounts",
        "Accounts, part of a name that is there": lambda: f"/accounts?text=u{rng.randrange(accounts):07}",
        "Accounts, part of a name that is nowhere": lambda: f"/accounts?text=nobody{rng.randrange(99)}",
        "Accounts, poor ones": lambda: "/accounts?standing=poor",
        "Accounts, last seen": lambda: "/accounts?order=seen",
        "Accounts, a page far down": lambda: f"/accounts?value={rng.random() * 10}&after=sasl%3Au",
        "Accounts of a tenant": lambda: f"/accounts?tenant=t{rng.randrange(TENANTS):05}.example",
        "One account": lambda: f"/accounts/{account()}",
        "Decisions": lambda: "/decisions",
        "Decisions, held": lambda: "/decisions?action=hold",
        "Decisions of an account": lambda: f"/decisions?account={account()}",
        "Decisions of an account, held": lambda: f"/decisions?account={account()}&action=hold",
        "Decisions of a tenant": lambda: f"/decisions?tenant=t{rng.randrange(TENANTS):05}.example",
        "Decisions to a recipient": lambda: f"/decisions?to=r{rng.randrange(max(1, count // 10)):07}%40example.org",
        "Decisions by sender": lambda: f"/decisions?from={account()[5:]}",
        "Decisions by reason": lambda: "/decisions?reason=PS-CONTENT",
        "Decisions by a reason that is nowhere": lambda: "/decisions?reason=PS-VIRUS",
        "Decisions by Message-ID": lambda: f"/decisions?message_id={id()}%40example.com",
        "Decisions of the last hour": lambda: "/decisions?age=1h",
        "One decision": lambda: f"/decisions/{id()}",
        "Held": lambda: "/held",
        "One held message": lambda: f"/held/{rng.choice(held)}",
        "Campaigns": lambda: "/campaigns",
        "Pools and IPs": lambda: "/pools",
        "Pools, moves": lambda: "/pools/moves",
        "Pools, plan": lambda: "/pools/plan",
        "Oneself": lambda: "/me",
        "Blocklists": lambda: "/lists",
        "Cases": lambda: "/cases",
        "Report of everybody": lambda: "/reports",
        "Report of a tenant": lambda: f"/reports?tenant=t{rng.randrange(TENANTS):05}.example",
        "If you had enforced, 7 days": lambda: "/enforced?days=7",
        "If you had enforced, 30 days": lambda: "/enforced?days=30",
        "Settings": lambda: "/settings",
        "Audit": lambda: "/audit",
        "The customer's page": lambda: f"/why/{make_link(id(), key)}",
        "reseller: Now": lambda: "/",
        "reseller: Accounts": lambda: "/accounts",
        "reseller: Decisions": lambda: "/decisions",
        "reseller: Decisions, held": lambda: "/decisions?action=hold",
        "reseller: Held": lambda: "/held",
        "reseller: Report": lambda: "/reports",
        "reseller: If you had enforced": lambda: "/enforced?days=30",
    }  # fmt: skip


async def measure(
    service: Service, wanted: dict[str, Callable[[], str]], times: int, told: Callable[[str], None]
) -> list[Row]:
    """Each page with p50 and p95 of the time it took, and of the CPU time of this process, in milliseconds."""
    app, found = make_app(service.site()), []
    clients = {}
    for name in ("ann", "reseller"):
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://bench", timeout=120)
        assert (await client.post("/login", data={"name": name, "password": PASSWORD})).status_code == 303
        clients[name] = client
    for name, path in wanted.items():
        client, taken, spent = clients["reseller" if name.startswith("reseller") else "ann"], [], []
        for _ in range(times):
            asked = path()
            began, cpu = time.perf_counter(), time.process_time()
            answer = await client.get(asked)
            taken.append((time.perf_counter() - began) * 1000)
            spent.append((time.process_time() - cpu) * 1000)
            assert answer.status_code in (200, 404), (asked, answer.status_code)
        wall, work = (statistics.quantiles(one, n=20) for one in (taken, spent))
        found.append((name, wall[9], wall[18], work[9], work[18]))
        told(f"{name}: {found[-1][1]:.1f} / {found[-1][2]:.1f} ms")
    for client in clients.values():
        await client.aclose()
    return found


def report(rows: list[Row], store: str, accounts: int, count: int, size: int, times: int) -> str:
    """The record."""
    lines = [
        f"# How fast the console is over {store}",
        "",
        f"{accounts:,} accounts and {count:,} decisions of {DAYS} days ({size / 1e9:.1f} GB), "
        f"{TENANTS:,} tenants, {ACTED:.0%} held; {times} requests of each page, drawn at random, "
        "answered by the whole site in one process, without a network.",
        "",
        "| page | p50 ms | p95 ms | CPU p50 ms | CPU p95 ms |",
        "|---|---|---|---|---|",
        *(f"| {name} | " + " | ".join(f"{one:.1f}" for one in times) + " |" for name, *times in rows),
        "",
    ]
    return "\n".join(lines)


@contextmanager
def servers() -> Iterator[str]:
    """A PostgreSQL and a Redis of their own, as lines of the settings."""
    folders = [make_folder(), make_folder()]
    postgres, redis = Postgres(folders[0]), Redis(folders[1])
    try:
        postgres.start()
        redis.start()
        yield SERVERS.format(valkey=redis.url(), postgres=postgres.fresh())
    finally:
        postgres.stop()
        redis.stop()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


async def work(text: str, accounts: int, count: int, times: int) -> str:
    """Fill, measure, tell."""
    began = time.monotonic()

    def told(text: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {text}", file=sys.stderr, flush=True)

    rng = random.Random(7)
    settings = parse_settings(text)
    service = Service(settings, watch=Watch(None), now=lambda: NOW, does_upkeep=False)
    await service.store.open()
    if await service.store.person("ann") is None:
        await service.store.close()
        await asyncio.to_thread(fill, settings.store, accounts, count, rng, told)
        service = Service(settings, watch=Watch(None), now=lambda: NOW, does_upkeep=False)
        await service.store.open()
        await furnish(service, rng, accounts)
    rows = await measure(service, pages(service, rng, accounts, count), times, told)
    await service.store.close()
    name = "PostgreSQL and Redis" if settings.store.postgres else "SQLite"
    return report(rows, name, accounts, count, size_of(settings.store), times)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--decisions", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL and Redis in place of SQLite")
    parser.add_argument("--folder", type=Path, help="keep SQLite's database here, and use it again")
    parser.add_argument("--out", type=Path, help="where the record goes; standard output without")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, ExitStack() as stack:
        place = given.folder or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        settings = SETTINGS.replace("PLACE", str(place)) + (stack.enter_context(servers()) if given.postgres else "")
        text = asyncio.run(work(settings, given.accounts, given.decisions, given.times))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
