"""PostgreSQL for many nodes: connections that mend themselves, two seconds for an answer, and the schema's steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from hashlib import blake2b
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from penstock.store.migrations import migrations
from penstock.store.ports import StoreUnavailable

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]

BOUND_S = 2.0
"""What has not been answered by then is StoreUnavailable."""
_MIGRATION_S = 600.0
_CONNECTIONS = 8
_LOCK = 0x70656E73746F636B  # "penstock"
_LONGEST = 400
_OURS = {
    "application_name": "penstock",
    "connect_timeout": "2",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "5000",
}
# Classes of SQLSTATE that speak of the server and not of the data: these pass, so trying again makes sense.
_PASSING = {"08", "25", "40", "53", "55", "57", "58", "XX"}


class Rejected(StoreUnavailable):
    """PostgreSQL understood and will not take these data, now or later."""


def fit(value: Any) -> Any:
    """A value as a column takes it: no NUL in text, and no text longer than an index can carry.

    What is longer keeps its beginning and a hash of the whole, so that it is still found by its full text.
    """
    if not isinstance(value, str) or (len(value) <= _LONGEST and "\0" not in value):
        return value
    text = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}#{blake2b(text.encode(), digest_size=16).hexdigest()}"


class Postgres:
    """A few connections, each lent out for one piece of work at a time."""

    def __init__(self, conninfo: str) -> None:
        """`conninfo` is a URL or key=value string; what it sets goes before our own time limits."""
        self._conninfo = conninfo
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._strays: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises StoreUnavailable."""
        try:
            conninfo = make_conninfo(self._conninfo, **_missing(self._conninfo))
        except psycopg.Error as trouble:
            raise StoreUnavailable(f"PostgreSQL: {trouble}") from None
        self._pool = AsyncConnectionPool(
            conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=_CONNECTIONS,
            open=False,
            check=AsyncConnectionPool.check_connection,
            timeout=BOUND_S,
            # Short, so that each new question tries again instead of waiting out a growing pause.
            reconnect_timeout=1.0,
            name="penstock",
        )
        try:
            await self._pool.open()
            await self.run(_nothing)
            await self.run(_migrate, bound_s=_MIGRATION_S)
        except StoreUnavailable:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(timeout=BOUND_S)

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, bound_s: float = BOUND_S) -> T:
        """Do a piece of work on a connection, autocommitting. Raises Rejected and StoreUnavailable."""
        try:
            return await self._within(bound_s, self._lent(work))
        except psycopg.Error as trouble:
            message = f"PostgreSQL: {str(trouble).strip() or type(trouble).__name__}"
            is_passing = trouble.sqlstate is None and isinstance(
                trouble, psycopg.OperationalError | psycopg.InterfaceError
            )
            if is_passing or (trouble.sqlstate or "")[:2] in _PASSING:
                raise StoreUnavailable(message) from trouble
            raise Rejected(message) from trouble
        except OSError as trouble:
            raise StoreUnavailable(f"PostgreSQL: {trouble}") from trouble

    async def _lent(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        async with self._pool.connection() as connection:
            return await work(connection)

    async def _within(self, bound_s: float, work: Coroutine[Any, Any, T]) -> T:
        # A query that is cancelled first asks the server to stop, which takes as long as a silent server likes. So that
        # nobody waits for that, it happens in a task that is left to itself.
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task,), timeout=bound_s)
        finally:
            if not task.done():
                task.cancel()
                self._strays.add(task)
                task.add_done_callback(self._forget)
        if not task.done():
            raise StoreUnavailable(f"PostgreSQL: no answer in {bound_s:g} s")
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._strays.discard(task)
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not complain


def _missing(conninfo: str) -> dict[str, str]:
    """Our own settings, but for what the operator has set."""
    theirs = conninfo_to_dict(conninfo)
    return {name: value for name, value in _OURS.items() if name not in theirs}


async def _nothing(connection: Connection) -> None:
    """What shows that somebody is there."""


async def _migrate(connection: Connection) -> None:
    steps = migrations("postgres")
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor = await connection.execute("SELECT to_regclass('penstock_schema') IS NOT NULL")
        if not (await cursor.fetchone() or (False,))[0]:
            await connection.execute(
                "CREATE TABLE penstock_schema (number int PRIMARY KEY, name text, at timestamptz DEFAULT now())"
            )
        cursor = await connection.execute("SELECT coalesce(max(number), 0) FROM penstock_schema")
        at = (await cursor.fetchone() or (0,))[0]
        last = steps[-1].number
        if at > last:
            raise StoreUnavailable(f"PostgreSQL: schema {at} is newer than this Penstock, which knows {last}")
        for step in (one for one in steps if one.number > at):
            await connection.execute(step.sql.encode())
            await connection.execute(
                "INSERT INTO penstock_schema (number, name) VALUES (%s, %s)", (step.number, step.name)
            )
