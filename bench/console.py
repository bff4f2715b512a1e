"""How long every page of the console takes over a million accounts and ten million decisions.

The rows are made as the store keeps them and written in bulk into SQLite; then each page is asked for again and again,
with accounts, recipients and ids drawn at random, and answered by the whole site in this process: routes, session,
queries, page.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from msgspec.structs import replace

from penstock.config import parse_settings
from penstock.console.app import make_app
from penstock.console.entrance import hash_password
from penstock.judge.reference import make_link
from penstock.model import (
    Account,
    AccountRow,
    Action,
    Audit,
    Decision,
    DecisionRow,
    Evidence,
    Held,
    Kind,
    Lines,
    Standing,
    make_id,
)
from penstock.people import Person, Role
from penstock.service import Service
from penstock.store.ports import HeldMessage, Records
from penstock.store.search import COUNT, TALLIED
from penstock.watch import Watch

NOW = 1_800_000_000.0
DAYS = 90
TENANTS = 10_000
PASSWORD = "correct horse battery"
ACTED = 0.01
EVIDENCE = "content new-recipients recipients-per-hour new-link copies new-source models".split()
_AT = 123456789.125
_encode = msgspec.msgpack.encode
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


Row = tuple[str, float, float, float, float]


def account_of(number: int) -> tuple[str, str]:
    """(account, tenant), each of one length."""
    tenant = f"t{number % TENANTS:05}.example"
    return f"sasl:u{number:07}@{tenant}", tenant


class Template:
    """A decision's row as bytes, in which what differs is filled in."""

    def __init__(self, action: Action, reason: str) -> None:
        evidence = tuple(Evidence(name, 1.5, "3 of 4 never mailed before", "0.2 of 4", "content") for name in EVIDENCE)
        account, tenant = "sasl:u@@@@@@@@t#####.example", "t#####.example"
        decision = Decision(
            id="!" * 20, at=_AT, account=replace(Account.parse(account), tenant=tenant), action=action, wanted=action,
            standing=Standing.NORMAL, kind=Kind.NORMAL, score=4.5, evidence=evidence, reason=reason,
            lines=Lines(10.0, 15.0, 1.4, 6.0), pool="normal",
        )  # fmt: skip
        row = DecisionRow(
            decision=decision, mail_from=account[5:], rcpt_to=("r%%%%%%%@example.org",), client_ip="198.51.100.7",
            listener="smtp", queue_id="", message_id="!" * 20 + "@example.com", subject="About the order of this week",
            size_bytes=3000, source="198.51.100.0/24",
        )  # fmt: skip
        self.raw = _encode(row)

    def fill(self, id: str, at: float, account: int, rcpt: str) -> bytes:
        """One row."""
        number, tenant = f"u{account:07}@t{account % TENANTS:05}".encode(), f"t{account % TENANTS:05}".encode()
        raw = self.raw.replace(b"u@@@@@@@@t#####", number).replace(b"t#####", tenant).replace(b"!" * 20, id.encode())
        raw = raw.replace(b"r%%%%%%%@example.org", rcpt.encode())
        return raw.replace(struct.pack(">d", _AT), struct.pack(">d", at))


def decisions(count: int, accounts: int, rng: random.Random) -> Iterator[tuple[tuple[Any, ...], tuple[str, str]]]:
    """Rows of `decisions` and `recipients`, in the order of time."""
    plain, held = Template(Action.ACCEPT, ""), Template(Action.HOLD, "PS-CONTENT")
    step = DAYS * 86400.0 / count
    for n in range(count):
        at = NOW - DAYS * 86400.0 + n * step
        id, who = make_id(at, n), rng.randrange(accounts)
        account, tenant = account_of(who)
        rcpt = f"r{n // 10:07}@example.org"
        is_held = rng.random() < ACTED
        action, template = ("hold", held) if is_held else ("accept", plain)
        row = (id, at, account, tenant, action, action, "PS-CONTENT" if is_held else "", account[5:], "",
               f"{id}@example.com", template.fill(id, at, who, rcpt))  # fmt: skip
        yield row, (rcpt, id)


def fill(path: Path, accounts: int, count: int, rng: random.Random, told: Callable[[str], None]) -> None:
    """Write everything, with the indexes made afterwards, as the schema has them."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "temp_store = FILE"):
        connection.execute(f"PRAGMA {pragma}")
    names = "('decisions', 'recipients', 'accounts')"
    where = f"type = 'index' AND sql IS NOT NULL AND tbl_name IN {names}"
    indexes = connection.execute(f"SELECT name, sql FROM sqlite_master WHERE {where}").fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.execute("BEGIN")
    rows: list[tuple[Any, ...]] = []
    recipients: list[tuple[str, str]] = []
    for n, (row, recipient) in enumerate(decisions(count, accounts, rng), 1):
        rows.append(row)
        recipients.append(recipient)
        if len(rows) == 10_000 or n == count:
            connection.executemany(f"INSERT INTO decisions VALUES ({','.join('?' * 11)})", rows)
            connection.executemany("INSERT INTO recipients VALUES (?, ?)", recipients)
            rows.clear()
            recipients.clear()
            if n % 500_000 == 0:
                told(f"{n} decisions")
    standings = (
        [Standing.NORMAL] * 90 + [Standing.NEW] * 5 + [Standing.POOR] * 3 + [Standing.SUSPENDED, Standing.TRUSTED]
    )
    for n in range(accounts):
        name, tenant = account_of(n)
        one = AccountRow(name, tenant, rng.choice(standings), rng.random() * 10, NOW - rng.random() * 86400, 9, 12)
        values = (name, tenant, one.standing.value, one.evidence, one.seen_at, _encode(one))
        connection.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?)", values)
    connection.execute("COMMIT")
    for name, sql in indexes:
        connection.execute(sql)
        told(f"index {name}")
    connection.execute("BEGIN")
    for sql in COUNT:
        connection.execute(sql.format(mark="?", second="CAST(at AS INTEGER)"), ("", "z"))
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, (SELECT max(id) FROM decisions))", (TALLIED,))
    connection.execute("UPDATE meta SET value = CAST(value AS BLOB) WHERE key = ?", (TALLIED,))
    connection.execute("COMMIT")
    told("tallies")
    connection.close()


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


def report(rows: list[Row], accounts: int, count: int, size: int, times: int) -> str:
    """The record."""
    lines = [
        "# How fast the console is",
        "",
        f"`make bench-console`: SQLite with {accounts:,} accounts and {count:,} decisions of {DAYS} days "
        f"({size / 1e9:.1f} GB), {TENANTS:,} tenants, {ACTED:.0%} held; {times} requests of each page, drawn at random, "  # noqa: E501
        "answered by the whole site in one process, without a network.",
        "",
        "| page | p50 ms | p95 ms | CPU p50 ms | CPU p95 ms |",
        "|---|---|---|---|---|",
        *(f"| {name} | " + " | ".join(f"{one:.1f}" for one in times) + " |" for name, *times in rows),
        "",
    ]
    return "\n".join(lines)


async def work(folder: Path, accounts: int, count: int, times: int) -> str:
    """Fill, measure, tell."""
    began = time.monotonic()

    def told(text: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {text}", file=sys.stderr, flush=True)

    rng = random.Random(7)
    settings = parse_settings(SETTINGS.replace("PLACE", str(folder)))
    path = settings.store.path
    service = Service(settings, watch=Watch(None), now=lambda: NOW, does_upkeep=False)
    is_there = path.exists()
    await service.store.open()
    if not is_there:
        await service.store.close()
        fill(path, accounts, count, rng, told)
        service = Service(settings, watch=Watch(None), now=lambda: NOW, does_upkeep=False)
        await service.store.open()
    if await service.store.person("ann") is None:
        await furnish(service, rng, accounts)
    rows = await measure(service, pages(service, rng, accounts, count), times, told)
    await service.store.close()
    return report(rows, accounts, count, path.stat().st_size, times)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--decisions", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="keep the database here, and use it again")
    parser.add_argument("--out", type=Path, help="where the record goes; standard output without")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        if given.folder:
            given.folder.mkdir(parents=True, exist_ok=True)
        text = asyncio.run(work(given.folder or Path(folder), given.accounts, given.decisions, given.times))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
