"""What runs by itself in one process of a node: expiry of held mail, old rows and sessions, and notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from penstock.people import Grain
from penstock.store.ports import Store
from penstock.workers.held import expire
from penstock.workers.notices import Notices

Chore = tuple[float, str, Callable[[], Awaitable[int]]]
"""Seconds between two runs, a name for trouble, and what is run."""


class UpkeepSettings(Struct, frozen=True):
    """How long things are kept, and how often is looked."""

    keep_held_s: float
    keep_decisions_s: float
    keep_counts_s: float
    """Counts by day."""
    keep_minutes_s: float = 14 * 86400.0
    """Counts by five minutes, of which a page shows a day."""
    notices_every_s: float = 2.0
    held_every_s: float = 60.0
    rows_every_s: float = 3600.0


class Upkeep:
    """Runs until it is cancelled; trouble is told and tried again, never fatal."""

    def __init__(
        self,
        settings: UpkeepSettings,
        store: Store,
        notices: Notices,
        failed: Callable[[str, BaseException], None],
        now: Callable[[], float],
        *,
        more: Sequence[Chore] = (),
    ) -> None:
        """`more` are chores of parts that are not always there."""
        self._more = more
        self._settings = settings
        self._store = store
        self._notices = notices
        self._failed = failed
        self._now = now

    async def run(self) -> None:
        """All chores, each in its own rhythm."""
        settings = self._settings
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(settings.notices_every_s, "notices", self._notices.run_once))
            group.create_task(self._every(settings.held_every_s, "held", self._expire_held))
            group.create_task(self._every(settings.rows_every_s, "rows", self._expire_rows))
            for pause_s, name, chore in self._more:
                group.create_task(self._every(pause_s, name, chore))

    async def _every(self, pause_s: float, name: str, chore: Callable[[], Awaitable[int]]) -> None:
        while True:
            try:
                await chore()
            except Exception as trouble:
                self._failed(name, trouble)
            await asyncio.sleep(pause_s)

    async def _expire_held(self) -> int:
        return await expire(self._store, now=self._now(), keep_s=self._settings.keep_held_s)

    async def _expire_rows(self) -> int:
        now = self._now()
        settings, store = self._settings, self._store
        days, minutes = now - settings.keep_counts_s, now - settings.keep_minutes_s
        before = {grain: minutes if grain is Grain.MINUTES else days for grain in Grain}
        gone = await store.expire(now=now, decisions_before=now - settings.keep_decisions_s)
        return gone + await store.expire_tallies(before) + await store.expire_keys(now)
