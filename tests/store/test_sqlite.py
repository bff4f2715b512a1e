"""SQLite's own promises: several processes on one file, and a disk that fails."""

import asyncio
import contextlib
import sqlite3
import sys
from pathlib import Path

import pytest
from test_contract import decision

from penstock.model import Held
from penstock.store.migrations import migrations
from penstock.store.ports import DecisionSearch, HeldMessage, Records, StoreUnavailable, Turn, Write
from penstock.store.sqlite import SqliteStore

PROCESS = """
import asyncio, sys
from pathlib import Path
from penstock.store.ports import Records, Turn, Write
from penstock.store.sqlite import SqliteStore

def add(key):
    return Turn(key, (key,), lambda state: {key: Write(b"%d" % (int(state[key] or 0) + 1), 60.0)})

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    for number in range(100):
        await store.update((add("a:joe"), add(f"c:{number % 7}")), lambda: Records(must_be_durable=number % 10 == 0))
    await store.close()

asyncio.run(main())
"""


def put(key, value):
    return (Turn(key, (key,), lambda state: {key: Write(value, 60.0)}),)


def plain():
    return Records(must_be_durable=False)


@pytest.fixture
async def store(tmp_path):
    one = SqliteStore(tmp_path / "penstock.sqlite")
    await one.open()
    yield one
    await one.close()


async def test_processes_take_turns_on_one_file(store, tmp_path):
    """Plain accepts and what acts, of three processes at once: everything counts, and none waits for all others."""
    path = str(tmp_path / "penstock.sqlite")
    others = [await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, path) for _ in range(3)]
    assert await asyncio.wait_for(asyncio.gather(*(one.wait() for one in others)), 60) == [0, 0, 0]

    found = await store.read(("a:joe", *(f"c:{number}" for number in range(7))))
    assert found["a:joe"] == b"300"
    assert sum(int(value) for value in found.values()) == 600


async def test_what_another_process_wrote_is_not_overlooked(store, tmp_path):
    """What is remembered from the last time counts only while nobody else has written."""
    other = SqliteStore(tmp_path / "penstock.sqlite")
    await other.open()
    seen = []
    for writer, reader, value in ((store, other, b"1"), (other, store, b"2"), (store, other, b"3")):
        await writer.update(put("a:joe", value), Records)
        look = Turn("a:joe", ("a:joe",), lambda state: seen.append(state["a:joe"]) or {})
        await reader.update((look,), plain)
    await other.close()

    assert seen == [b"1", b"2", b"3"]


async def test_a_full_disk_is_told_as_soon_as_it_is_known(store):
    """After the first batch that could not be written every update fails, and all goes on once there is room again."""
    await store.update(put("a:before", b"kept"), Records)
    await store._writer.run(lambda connection: (connection.execute("PRAGMA max_page_count = 1").fetchone(), False))
    big = bytes(1 << 20)
    with pytest.raises(StoreUnavailable):
        await store.update(put("a:joe", big), Records)
    # The connection is a new one now, which knows no limit.
    await store._writer.run(lambda connection: (connection.execute("PRAGMA max_page_count = 1").fetchone(), False))
    await store.update(put("a:joe", big), plain)
    await store._writer.settle()
    assert store._writer._is_doubtful

    await store.update(put("a:joe", b"small"), plain)  # written before it returns
    assert await store.read(("a:joe", "a:before")) == {"a:joe": b"small", "a:before": b"kept"}
    assert not store._writer._is_doubtful


async def test_a_message_that_cannot_be_held_fails_alone(store, tmp_path):
    """Neighbours of the same batch are kept; nobody is told that the message is."""
    (tmp_path / "held").mkdir(exist_ok=True)
    (tmp_path / "held" / "zz").write_text("in the way of a folder")
    held = Held("x" * 18 + "zz", "d1", "sasl:joe", 1.0, "joe@example.com", ("a@example.net",), 3, "PS-CONTENT")
    results = await asyncio.gather(
        store.update(put("a:ann", b"1"), Records),
        store.update(put("a:joe", b"1"), lambda: Records(held=(HeldMessage(held, b"raw"),))),
        store.update(put("a:eve", b"1"), Records),
        return_exceptions=True,
    )

    assert results[0] is None and results[2] is None and isinstance(results[1], OSError)
    assert await store.held() == []


async def test_nothing_waits_when_the_store_is_closed(tmp_path):
    """What was accepted is written; later updates are refused."""
    one = SqliteStore(tmp_path / "penstock.sqlite")
    await one.open()
    await one.update(put("a:joe", b"1"), plain)
    await one.close()
    with pytest.raises(StoreUnavailable):
        await one.update(put("a:joe", b"2"), plain)

    again = SqliteStore(Path(tmp_path / "penstock.sqlite"))
    await again.open()
    assert await again.read(("a:joe",)) == {"a:joe": b"1"}
    await again.close()


async def test_decisions_of_an_older_schema_are_all_there_after_the_update(tmp_path, monkeypatch):
    """The table is made anew with a rowid: same rows, same indexes."""
    rows, path = [decision(number) for number in range(20)], tmp_path / "penstock.sqlite"
    with monkeypatch.context() as before:
        before.setattr("penstock.store.sqlite.migrations", lambda backend: migrations(backend)[:8])
        older = SqliteStore(path)
        await older.open()
        await older.update((), lambda: Records(decisions=tuple(rows)))
        await older.close()
    names = indexes(path)

    newer = SqliteStore(path)
    await newer.open()
    found = await newer.decisions(DecisionSearch(limit=50))
    await newer.close()

    assert found == rows[::-1]
    assert indexes(path) == names
    assert len(names) == 9


def indexes(path):
    """The indexes that the schema names for decisions."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        sql = "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'decisions' AND sql IS NOT NULL"
        return sorted(row[0] for row in connection.execute(sql))
