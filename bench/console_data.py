"""A million accounts and ten million decisions, made as the store keeps them and written in bulk."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from msgspec.structs import replace

from penstock.model import Account, AccountRow, Action, Decision, DecisionRow, Evidence, Kind, Lines, Standing, make_id
from penstock.store.search import COUNT, TALLIED

NOW = 1_800_000_000.0
DAYS = 90
TENANTS = 10_000
ACTED = 0.01
EVIDENCE = "content new-recipients recipients-per-hour new-link copies new-source models".split()
_AT = 123456789.125
_BATCH = 10_000
_COLUMNS = {"decisions": 11, "recipients": 2, "accounts": 6}
_TABLES = tuple(_COLUMNS)
_encode = msgspec.msgpack.encode
Told = Callable[[str], None]


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


def account_rows(count: int, rng: random.Random) -> Iterator[tuple[Any, ...]]:
    """Rows of `accounts`."""
    standings = (
        [Standing.NORMAL] * 90 + [Standing.NEW] * 5 + [Standing.POOR] * 3 + [Standing.SUSPENDED, Standing.TRUSTED]
    )
    for n in range(count):
        name, tenant = account_of(n)
        one = AccountRow(name, tenant, rng.choice(standings), rng.random() * 10, NOW - rng.random() * 86400, 9, 12)
        yield name, tenant, one.standing.value, one.evidence, one.seen_at, _encode(one)


def fill_sqlite(path: Path, accounts: int, count: int, rng: random.Random, told: Told) -> None:
    """Write everything into a fresh database."""

    def write(table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * _COLUMNS[table])})", rows)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "temp_store = FILE"):
            connection.execute(f"PRAGMA {pragma}")
        where = f"type = 'index' AND sql IS NOT NULL AND tbl_name IN {_TABLES}"
        indexes = connection.execute(f"SELECT name, sql FROM sqlite_master WHERE {where}").fetchall()
        connection.execute("BEGIN")
        for line in _filled(connection, indexes, write, "?", "CAST(at AS INTEGER)", accounts, count, rng):
            told(line)
        connection.execute("COMMIT")


def fill_postgres(address: str, accounts: int, count: int, rng: random.Random, told: Told) -> None:
    """The same in PostgreSQL, by COPY."""

    def write(table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    with psycopg.connect(address, autocommit=True) as connection:
        where = f"schemaname = current_schema() AND tablename IN {_TABLES} AND indexdef NOT LIKE 'CREATE UNIQUE%'"
        indexes = connection.execute(f"SELECT indexname, indexdef FROM pg_indexes WHERE {where}").fetchall()
        for line in _filled(connection, indexes, write, "%s", "CAST(floor(at) AS bigint)", accounts, count, rng):
            told(line)
        connection.execute("VACUUM ANALYZE")


def _filled(
    connection: sqlite3.Connection | psycopg.Connection,
    indexes: Sequence[tuple[str, str]],
    write: Callable[[str, Iterable[tuple[Any, ...]]], None],
    mark: str,
    second: str,
    accounts: int,
    count: int,
    rng: random.Random,
) -> Iterator[str]:
    """Write everything, with the indexes made afterwards, as the schema has them; yields what is done."""
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    for n, some in enumerate(in_batches(decisions(count, accounts, rng)), 1):
        write("decisions", (row for row, _ in some))
        write("recipients", (rcpt for _, rcpt in some))
        if n % 50 == 0:
            yield f"{n * _BATCH} decisions"
    write("accounts", account_rows(accounts, rng))
    for name, sql in indexes:
        connection.execute(sql)
        yield f"index {name}"
    for sql in COUNT:
        connection.execute(sql.format(mark=mark, second=second), ("", "z"))
    last = connection.execute("SELECT max(id) FROM decisions").fetchone()[0]
    connection.execute(f"INSERT INTO meta VALUES ({mark}, {mark})", (TALLIED, last.encode()))
    yield "tallies"


def in_batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """So many at once."""
    while some := list(islice(rows, _BATCH)):
        yield some
