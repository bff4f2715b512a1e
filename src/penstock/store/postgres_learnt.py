"""What was learnt from people, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from penstock.examples import Example, Lesson, Remembered
from penstock.model import Audit
from penstock.store.ports import ExampleSearch
from penstock.store.postgres import BOUND_S, Connection, Postgres, fit
from penstock.store.search import example_conditions, is_taken

_pack = msgspec.msgpack.Encoder().encode
_example = msgspec.msgpack.Decoder(Example).decode
_remembered = msgspec.msgpack.Decoder(Remembered).decode
_ROW_S = 0.02
"""More time for each row of a step."""


class PostgresLearnt:
    """The part of the contract that is about examples."""

    _postgres: Postgres

    async def _ask(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        raise NotImplementedError

    async def learn(self, lessons: Sequence[Lesson], audit: Sequence[Audit]) -> list[str]:
        """Keep examples, each with its audit entry."""

        async def work(connection: Connection) -> list[str]:
            async with connection.transaction():
                await _lock(connection)
                return [
                    lesson.example.id
                    for lesson, entry in zip(lessons, audit, strict=True)
                    if await _learn(connection, lesson, entry)
                ]

        return await self._postgres.run(work, bound_s=BOUND_S + _ROW_S * len(lessons))

    async def lessons(self, *, after: int, limit: int) -> list[Lesson]:
        """Examples that are not undone, in the order of learning."""
        sql = "SELECT number, packed, traits FROM examples WHERE number > %s AND undone_at = 0 ORDER BY number LIMIT %s"
        return [Lesson(_example(row[1]), row[2], row[0]) for row in await self._ask(sql, after, limit)]

    async def learnt_version(self) -> tuple[int, int]:
        """(generation, number of the last example)."""
        sql = "SELECT generation, (SELECT coalesce(max(number), 0) FROM examples) FROM learnt"
        row = (await self._ask(sql))[0]
        return row[0], row[1]

    async def examples(self, search: ExampleSearch) -> list[Example]:
        """Examples, newest first, one page."""
        where, values = example_conditions(search, "%s")
        sql = f"SELECT packed, undone_at FROM examples WHERE {where} ORDER BY id DESC LIMIT %s"  # noqa: S608
        rows = await self._ask(sql, *values, search.limit)
        return [replace(_example(row[0]), undone_at=row[1]) for row in rows]

    async def undo_examples(self, ids: Sequence[str], *, at: float, audit: Sequence[Audit]) -> int:
        """Take examples back, durably."""

        async def work(connection: Connection) -> int:
            count = 0
            async with connection.transaction():
                await _lock(connection)
                for id, entry in zip(ids, audit, strict=True):
                    sql = "UPDATE examples SET undone_at = %s WHERE id = %s AND undone_at = 0"
                    if (await connection.execute(sql, (float(at), fit(id)))).rowcount:
                        count += 1
                        await _add_audit(connection, entry)
                await _next_generation(connection, count)
            return count

        return await self._postgres.run(work, bound_s=BOUND_S + _ROW_S * len(ids))

    async def remembered(self, decision_id: str) -> Remembered | None:
        """What could be learnt from a decision's message."""
        rows = await self._ask("SELECT packed FROM remembered WHERE id = %s", decision_id)
        return _remembered(rows[0][0]) if rows else None

    async def expire_learnt(self, *, examples_before: float, remembered_before: float) -> int:
        """Delete what is past its retention."""

        async def work(connection: Connection) -> int:
            async with connection.transaction():
                await _lock(connection)
                sql = "DELETE FROM examples WHERE at < %s"
                count = (await connection.execute(sql, (float(examples_before),))).rowcount
                await _next_generation(connection, count)
            sql = "DELETE FROM remembered WHERE at < %s"
            return count + (await connection.execute(sql, (float(remembered_before),))).rowcount

        return await self._postgres.run(work, bound_s=60.0)


async def _lock(connection: Connection) -> None:
    """One writer at a time, until the transaction ends: numbers then become visible in their order."""
    await connection.execute("SELECT generation FROM learnt FOR UPDATE")


async def _next_generation(connection: Connection, count: int) -> None:
    if count:
        await connection.execute("UPDATE learnt SET generation = generation + 1")


async def _add_audit(connection: Connection, entry: Audit) -> None:
    sql = "INSERT INTO audit (at, target, packed) VALUES (%s, %s, %b)"
    await connection.execute(sql, (float(entry.at), fit(entry.target), _pack(entry)))


async def _learn(connection: Connection, lesson: Lesson, entry: Audit) -> bool:
    one = lesson.example
    sql = "SELECT packed FROM examples WHERE digest = %s AND undone_at = 0"
    known = await (await connection.execute(sql, (one.digest,), binary=True)).fetchone()
    if not is_taken(_example(known[0]) if known else None, one):
        return False
    if known:
        sql = "UPDATE examples SET undone_at = %s WHERE digest = %s AND undone_at = 0"
        await connection.execute(sql, (float(one.at), one.digest))
        await _next_generation(connection, 1)
    texts = [fit(text) for text in (one.who, one.account, one.tenant, one.digest)]
    sql = (
        "INSERT INTO examples (id, at, who, account, tenant, digest, packed, traits) "
        "VALUES (%s, %s, %s, %s, %s, %s, %b, %b)"
    )
    await connection.execute(sql, (fit(one.id), float(one.at), *texts, _pack(one), lesson.traits))
    await _add_audit(connection, entry)
    return True
