"""Memory for many nodes: hot state in Valkey, records in PostgreSQL; any node may judge any message.

The hot state of an update is changed first, atomically, then its records in one transaction: a crash in between may
count a message's evidence without its record, but never acts without one. Held messages lie in PostgreSQL with their
bytes, so that any node can release them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from penstock.store.ports import Records, Turn
from penstock.store.postgres_records import PostgresRecords
from penstock.store.valkey_state import ValkeyState


class ScaleStore(PostgresRecords):
    """The whole contract over two servers; StoreUnavailable within two seconds while either is away."""

    def __init__(self, valkey: str, postgres: str, *, now: Callable[[], float] = time.time) -> None:
        """`valkey` is a URL (`valkey://`, `valkeys://`, `redis://` …), `postgres` a connection string.

        `now` is asked for lifetimes of hot state.
        """
        super().__init__(postgres)
        self._state = ValkeyState(valkey, now)

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises StoreUnavailable."""
        await self._state.open()
        try:
            await self._open_records()
        except BaseException:
            await self._state.close()
            raise

    async def close(self) -> None:
        """Write out what waits, and let go. Raises StoreUnavailable where PostgreSQL is away and records are lost."""
        try:
            await self._close_records()
        finally:
            await self._state.close()

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        """Read hot state without locking it."""
        return await self._state.read(keys)

    async def update(self, turns: Sequence[Turn], records: Callable[[], Records]) -> None:
        """Run the turns, then keep the records. Raises StoreUnavailable, and what a step or `records` raises."""
        self._writer.check()  # before anything is counted
        await self._state.run(turns)
        await self._keep(records())
