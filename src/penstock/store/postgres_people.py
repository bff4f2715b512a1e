"""People, their keys and counts of decisions, in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from penstock.model import Audit
from penstock.people import Grain, Key, Person, Tally, TallySearch
from penstock.store.postgres import Connection, Postgres, fit
from penstock.store.search import COUNT, EXPIRE_TALLIES, EXPIRED_AT_ONCE, NEXT_TALLIED, TALLIED, tallies_sql

_pack = msgspec.msgpack.Encoder().encode
_person = msgspec.msgpack.Decoder(Person).decode
_key = msgspec.msgpack.Decoder(Key).decode
_LOCK = 0x74616C6C79  # "tally"
_BOUND_S = 30.0


class PostgresPeople:
    """The part of the contract that is about people, and what is counted for them."""

    _postgres: Postgres

    async def _ask(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        raise NotImplementedError

    async def people(self) -> list[Person]:
        """All people by name."""
        return [_person(row[0]) for row in await self._ask("SELECT packed FROM people ORDER BY name")]

    async def person(self, name: str) -> Person | None:
        """One person."""
        rows = await self._ask("SELECT packed FROM people WHERE name = %s", name)
        return _person(rows[0][0]) if rows else None

    async def keep_person(self, person: Person, audit: Audit) -> None:
        """Add or change a person, durably."""
        sql = "INSERT INTO people VALUES (%s, %b) ON CONFLICT (name) DO UPDATE SET packed = excluded.packed"
        await self._change(sql, (person.name, _pack(person)), audit)

    async def change_person(self, name: str, change: Callable[[Person], Person | None], audit: Audit | None) -> bool:
        """Change a person in one step, durably."""

        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                sql = "SELECT packed FROM people WHERE name = %s FOR UPDATE"
                row = await (await connection.execute(sql, (fit(name),), binary=True)).fetchone()
                changed = change(_person(row[0])) if row else None
                if changed is None:
                    return False
                sql = "UPDATE people SET packed = %b WHERE name = %s"
                await connection.execute(sql, (_pack(changed), fit(name)))
                if audit is not None:
                    await _add_audit(connection, audit)
            return True

        return await self._postgres.run(work)

    async def remove_person(self, name: str, audit: Audit) -> bool:
        """Remove a person with all keys, durably."""

        async def work(connection: Connection) -> bool:
            async with connection.transaction():
                if not (await connection.execute("DELETE FROM people WHERE name = %s", (fit(name),))).rowcount:
                    return False
                await connection.execute("DELETE FROM keys WHERE person = %s", (fit(name),))
                await _add_audit(connection, audit)
            return True

        return await self._postgres.run(work)

    async def keys(self, *, kind: str, person: str = "") -> list[Key]:
        """Sessions or tokens, oldest first."""
        sql = "SELECT packed FROM keys WHERE kind = %s AND (%s = '' OR person = %s)"
        found = [_key(row[0]) for row in await self._ask(sql, kind, person, person)]
        return sorted(found, key=lambda one: (one.made_at, one.digest))

    async def key(self, digest: str) -> Key | None:
        """One key by its secret's digest."""
        rows = await self._ask("SELECT packed FROM keys WHERE digest = %s", digest)
        return _key(rows[0][0]) if rows else None

    async def keep_key(self, key: Key, audit: Audit) -> None:
        """Keep a key, durably."""
        sql = (
            "INSERT INTO keys VALUES (%s, %s, %s, %s, %b) "
            "ON CONFLICT (digest) DO UPDATE SET until = excluded.until, packed = excluded.packed"
        )
        await self._change(sql, (key.digest, key.kind, key.person, float(key.until), _pack(key)), audit)

    async def drop_keys(self, *, audit: Audit, digest: str = "", person: str = "", kind: str = "") -> int:
        """End one key by digest, or a person's of one kind."""
        assert digest or person, "never all of everybody's"
        sql = "DELETE FROM keys WHERE (%s = '' OR digest = %s) AND (%s = '' OR person = %s) AND (%s = '' OR kind = %s)"
        return await self._change(sql, (digest, digest, person, person, kind, kind), audit)

    async def expire_keys(self, now: float) -> int:
        """Delete keys past their time."""

        async def work(connection: Connection) -> int:
            sql = "DELETE FROM keys WHERE until > 0 AND until <= %s"
            return (await connection.execute(sql, (float(now),))).rowcount

        return await self._postgres.run(work)

    async def tally(self, *, before_id: str, limit: int = 5000) -> int:
        """Count decisions that were not counted yet, oldest first; one node at a time."""

        async def work(connection: Connection) -> int:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                cursor = await connection.execute("SELECT value FROM meta WHERE key = %s", (TALLIED,), binary=True)
                row = await cursor.fetchone()
                after = row[0].decode() if row else ""
                wanted = NEXT_TALLIED.format(mark="%s").encode()
                last, count = await (await connection.execute(wanted, (after, before_id, limit))).fetchone() or ("", 0)
                if not count:
                    return 0
                for sql in COUNT:
                    whole = sql.format(mark="%s", second="CAST(floor(at) AS bigint)").encode()
                    await connection.execute(whole, (after, last))
                sql = "INSERT INTO meta VALUES (%s, %b) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
                await connection.execute(sql, (TALLIED, last.encode()))
            return int(count)

        return await self._postgres.run(work, bound_s=_BOUND_S)

    async def tallies(self, search: TallySearch) -> list[Tally]:
        """Counts in the order of time."""
        sql, values = tallies_sql(search, "%s")
        found = [
            Tally(float(row[0]), row[1], row[2], row[3], row[4], row[5], int(row[6]), int(row[7]))
            for row in await self._ask(sql, *values)
        ]
        return found if search.by_account else found[::-1]

    async def expire_tallies(self, before: Mapping[Grain, float]) -> int:
        """Delete counts past their time, in steps."""
        gone, sql = 0, EXPIRE_TALLIES.format(mark="%s").encode()
        for values in [(grain.value, at, EXPIRED_AT_ONCE) for grain, at in before.items()]:

            async def work(connection: Connection, values: tuple[str, float, int] = values) -> int:
                return (await connection.execute(sql, values)).rowcount

            while count := await self._postgres.run(work):
                gone += count
                await asyncio.sleep(0.01)
        return gone

    async def standings(self, tenant: str = "") -> Mapping[str, int]:
        """How many accounts have each standing."""
        sql = "SELECT standing, count(*) FROM accounts WHERE (%s = '' OR tenant = %s) GROUP BY standing"
        return {row[0]: row[1] for row in await self._ask(sql, tenant, tenant)}

    async def _change(self, sql: str, values: tuple[Any, ...], audit: Audit) -> int:
        """One statement with its audit entry, which is left out where nothing changed."""

        async def work(connection: Connection) -> int:
            async with connection.transaction():
                fitted = [fit(one) for one in values]
                count = (await connection.execute(sql.encode(), fitted)).rowcount
                if count:
                    await _add_audit(connection, audit)
            return count

        return await self._postgres.run(work)


async def _add_audit(connection: Connection, entry: Audit) -> None:
    sql = "INSERT INTO audit (at, target, packed) VALUES (%s, %s, %b)"
    await connection.execute(sql, (float(entry.at), fit(entry.target), _pack(entry)))
