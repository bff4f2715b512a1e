"""People, their keys and counts of decisions, in SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from penstock.model import Audit
from penstock.people import Grain, Key, Person, Tally, TallySearch
from penstock.store.ports import Records
from penstock.store.search import COUNT, EXPIRE_TALLIES, EXPIRED_AT_ONCE, NEXT_TALLIED, TALLIED, tallies_sql
from penstock.store.sqlite_rows import write_records
from penstock.store.sqlite_writer import Writer

T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_person = msgspec.msgpack.Decoder(Person).decode
_key = msgspec.msgpack.Decoder(Key).decode


class SqlitePeople:
    """The part of the contract that is about people, and what is counted for them."""

    _writer: Writer

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        raise NotImplementedError

    async def people(self) -> list[Person]:
        """All people by name."""
        rows = await self._ask(lambda connection: connection.execute("SELECT row FROM people ORDER BY name").fetchall())
        return [_person(row[0]) for row in rows]

    async def person(self, name: str) -> Person | None:
        """One person."""
        sql = "SELECT row FROM people WHERE name = ?"
        row = await self._ask(lambda connection: connection.execute(sql, (name,)).fetchone())
        return _person(row[0]) if row else None

    async def keep_person(self, person: Person, audit: Audit) -> None:
        """Add or change a person, durably."""

        def work(connection: sqlite3.Connection) -> tuple[None, bool]:
            connection.execute("INSERT OR REPLACE INTO people VALUES (?, ?)", (person.name, _encode(person)))
            write_records(connection, [Records(audit=(audit,))])
            return None, True

        await self._writer.run(work)

    async def change_person(self, name: str, change: Callable[[Person], Person | None], audit: Audit | None) -> bool:
        """Change a person in one step, durably."""

        def work(connection: sqlite3.Connection) -> tuple[bool, bool]:
            row = connection.execute("SELECT row FROM people WHERE name = ?", (name,)).fetchone()
            changed = change(_person(row[0])) if row else None
            if changed is None:
                return False, False
            connection.execute("UPDATE people SET row = ? WHERE name = ?", (_encode(changed), name))
            write_records(connection, [Records(audit=(audit,) if audit is not None else ())])
            return True, True

        return bool(await self._writer.run(work))

    async def remove_person(self, name: str, audit: Audit) -> bool:
        """Remove a person with all keys, durably."""

        def work(connection: sqlite3.Connection) -> tuple[bool, bool]:
            if not connection.execute("DELETE FROM people WHERE name = ?", (name,)).rowcount:
                return False, False
            connection.execute("DELETE FROM keys WHERE person = ?", (name,))
            write_records(connection, [Records(audit=(audit,))])
            return True, True

        return bool(await self._writer.run(work))

    async def keys(self, *, kind: str, person: str = "") -> list[Key]:
        """Sessions or tokens, oldest first."""
        sql = "SELECT row FROM keys WHERE kind = ? AND (? = '' OR person = ?)"
        rows = await self._ask(lambda connection: connection.execute(sql, (kind, person, person)).fetchall())
        return sorted((_key(row[0]) for row in rows), key=lambda one: (one.made_at, one.digest))

    async def key(self, digest: str) -> Key | None:
        """One key by its secret's digest."""
        sql = "SELECT row FROM keys WHERE digest = ?"
        row = await self._ask(lambda connection: connection.execute(sql, (digest,)).fetchone())
        return _key(row[0]) if row else None

    async def keep_key(self, key: Key, audit: Audit) -> None:
        """Keep a key, durably."""

        def work(connection: sqlite3.Connection) -> tuple[None, bool]:
            values = (key.digest, key.kind, key.person, key.until, _encode(key))
            connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?)", values)
            write_records(connection, [Records(audit=(audit,))])
            return None, True

        await self._writer.run(work)

    async def drop_keys(self, *, audit: Audit, digest: str = "", person: str = "", kind: str = "") -> int:
        """End one key by digest, or a person's of one kind."""

        def work(connection: sqlite3.Connection) -> tuple[int, bool]:
            sql = "DELETE FROM keys WHERE (? = '' OR digest = ?) AND (? = '' OR person = ?) AND (? = '' OR kind = ?)"
            count = connection.execute(sql, (digest, digest, person, person, kind, kind)).rowcount
            if count:
                write_records(connection, [Records(audit=(audit,))])
            return count, True

        assert digest or person, "never all of everybody's"
        return int(await self._writer.run(work))

    async def expire_keys(self, now: float) -> int:
        """Delete keys past their time."""

        def work(connection: sqlite3.Connection) -> tuple[int, bool]:
            return connection.execute("DELETE FROM keys WHERE until > 0 AND until <= ?", (now,)).rowcount, False

        return int(await self._writer.run(work))

    async def tally(self, *, before_id: str, limit: int = 5000) -> int:
        """Count decisions that were not counted yet, oldest first."""

        def work(connection: sqlite3.Connection) -> tuple[int, bool]:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (TALLIED,)).fetchone()
            after = row[0].decode() if row else ""
            last, count = connection.execute(NEXT_TALLIED.format(mark="?"), (after, before_id, limit)).fetchone()
            if not count:
                return 0, False
            for sql in COUNT:
                connection.execute(sql.format(mark="?", second="CAST(at AS INTEGER)"), (after, last))
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (TALLIED, last.encode()))
            return count, False

        return int(await self._writer.run(work))

    async def tallies(self, search: TallySearch) -> list[Tally]:
        """Counts in the order of time."""
        sql, values = tallies_sql(search, "?")
        rows = await self._ask(lambda connection: connection.execute(sql, values).fetchall())
        found = [Tally(float(row[0]), *row[1:]) for row in rows]
        return found if search.by_account else found[::-1]

    async def expire_tallies(self, before: Mapping[Grain, float]) -> int:
        """Delete counts past their time, in steps."""
        gone, sql = 0, EXPIRE_TALLIES.format(mark="?")
        for values in [(grain.value, at, EXPIRED_AT_ONCE) for grain, at in before.items()]:

            def work(connection: sqlite3.Connection, values: tuple[str, float, int] = values) -> tuple[int, bool]:
                return connection.execute(sql, values).rowcount, False

            while count := int(await self._writer.run(work)):
                gone += count
                await asyncio.sleep(0.01)
        return gone

    async def standings(self, tenant: str = "") -> Mapping[str, int]:
        """How many accounts have each standing."""
        where, values = ("tenant = ?", (tenant,)) if tenant else ("1 = 1", ())
        sql = f"SELECT standing, count(*) FROM accounts WHERE {where} GROUP BY standing"  # noqa: S608
        return dict(await self._ask(lambda connection: connection.execute(sql, values).fetchall()))
