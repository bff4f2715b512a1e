"""What was learnt from people, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from penstock.examples import Example, Lesson, Remembered
from penstock.model import Audit
from penstock.store.ports import ExampleSearch, Records
from penstock.store.search import example_conditions, is_taken
from penstock.store.sqlite_rows import write_records
from penstock.store.sqlite_writer import Writer

T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_example = msgspec.msgpack.Decoder(Example).decode
_remembered = msgspec.msgpack.Decoder(Remembered).decode


class SqliteLearnt:
    """The part of the contract that is about examples."""

    _writer: Writer

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        raise NotImplementedError

    async def learn(self, lessons: Sequence[Lesson], audit: Sequence[Audit]) -> list[str]:
        """Keep examples, each with its audit entry."""

        def work(connection: sqlite3.Connection) -> tuple[list[str], bool]:
            taken = [
                lesson.example.id
                for lesson, entry in zip(lessons, audit, strict=True)
                if _learn(connection, lesson, entry)
            ]
            return taken, True

        found: list[str] = await self._writer.run(work)
        return found

    async def lessons(self, *, after: int, limit: int) -> list[Lesson]:
        """Examples that are not undone, in the order of learning."""
        sql = "SELECT number, row, traits FROM examples WHERE number > ? AND undone_at = 0 ORDER BY number LIMIT ?"
        rows = await self._ask(lambda connection: connection.execute(sql, (after, limit)).fetchall())
        return [Lesson(_example(row), traits, number) for number, row, traits in rows]

    async def learnt_version(self) -> tuple[int, int]:
        """(generation, number of the last example)."""
        sql = "SELECT generation, (SELECT coalesce(max(number), 0) FROM examples) FROM learnt"
        generation, number = await self._ask(lambda connection: connection.execute(sql).fetchone())
        return generation, number

    async def examples(self, search: ExampleSearch) -> list[Example]:
        """Examples, newest first, one page."""
        where, values = example_conditions(search, "?")
        sql = f"SELECT row, undone_at FROM examples WHERE {where} ORDER BY id DESC LIMIT ?"  # noqa: S608
        rows = await self._ask(lambda connection: connection.execute(sql, (*values, search.limit)).fetchall())
        return [replace(_example(row), undone_at=undone_at) for row, undone_at in rows]

    async def undo_examples(self, ids: Sequence[str], *, at: float, audit: Sequence[Audit]) -> int:
        """Take examples back, durably."""

        def work(connection: sqlite3.Connection) -> tuple[int, bool]:
            count = 0
            for id, entry in zip(ids, audit, strict=True):
                sql = "UPDATE examples SET undone_at = ? WHERE id = ? AND undone_at = 0"
                if connection.execute(sql, (at, id)).rowcount:
                    count += 1
                    write_records(connection, [Records(audit=(entry,))])
            _next_generation(connection, count)
            return count, True

        return int(await self._writer.run(work))

    async def remembered(self, decision_id: str) -> Remembered | None:
        """What could be learnt from a decision's message."""
        sql = "SELECT row FROM remembered WHERE id = ?"
        row = await self._ask(lambda connection: connection.execute(sql, (decision_id,)).fetchone())
        return _remembered(row[0]) if row else None

    async def expire_learnt(self, *, examples_before: float, remembered_before: float) -> int:
        """Delete what is past its retention."""

        def work(connection: sqlite3.Connection) -> tuple[int, bool]:
            count = connection.execute("DELETE FROM examples WHERE at < ?", (examples_before,)).rowcount
            _next_generation(connection, count)
            count += connection.execute("DELETE FROM remembered WHERE at < ?", (remembered_before,)).rowcount
            return count, False

        return int(await self._writer.run(work))


def _learn(connection: sqlite3.Connection, lesson: Lesson, entry: Audit) -> bool:
    one = lesson.example
    sql = "SELECT row FROM examples WHERE digest = ? AND undone_at = 0"
    known = connection.execute(sql, (one.digest,)).fetchone()
    if not is_taken(_example(known[0]) if known else None, one):
        return False
    if known:
        connection.execute("UPDATE examples SET undone_at = ? WHERE digest = ? AND undone_at = 0", (one.at, one.digest))
        _next_generation(connection, 1)
    values = (one.id, one.at, one.who, one.account, one.tenant, one.digest, _encode(one), lesson.traits)
    names = "id, at, who, account, tenant, digest, row, traits"
    connection.execute(f"INSERT INTO examples ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
    write_records(connection, [Records(audit=(entry,))])
    return True


def _next_generation(connection: sqlite3.Connection, count: int) -> None:
    if count:
        connection.execute("UPDATE learnt SET generation = generation + 1")
