"""Suspended accounts are let in again when what is asked for is met, by themselves at growing times, or by a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from msgspec.structs import replace

from penstock.clients.script_file import fingerprint
from penstock.judge.shutting import KEEP_S, Shut, encode, read_shut, released
from penstock.judge.way_back import Condition, Terms, Way, way_back
from penstock.model import AccountRow, Standing
from penstock.pipeline import Pipeline
from penstock.store.ports import AccountSearch, Records, Store, Turn, Write

_PAGE = 200


class WayBack:
    """Looks at suspended accounts now and then."""

    def __init__(
        self, terms: Terms, store: Store, pipeline: Pipeline, *, hostname: str, now: Callable[[], float]
    ) -> None:
        self._terms = terms
        self._store = store
        self._pipeline = pipeline
        self._hostname = hostname
        self._now = now

    async def run_once(self) -> int:
        """Let in whose time has come; how many. Raises StoreUnavailable."""
        count = 0
        async for row in self._suspended():
            way = await self.way(row.account)
            if way.is_due:
                await self._let_in(row.account, way)
                count += 1
        return count

    async def way(self, name: str) -> Way:
        """How far an account is on its way back. Raises StoreUnavailable."""
        keys = (f"x:{name}", f"a:{name}")
        state = await self._store.read(keys)
        shut = read_shut(state[keys[0]])
        checked = await asyncio.to_thread(self._checked, shut)
        return way_back(shut, state[keys[1]], self._terms, self._now(), confirmed=checked)

    def _checked(self, shut: Shut) -> Mapping[Condition, bool]:
        """What is seen of the script's file, on the host that saw it before."""
        host, path, before = shut.script
        if not before or host != self._hostname:
            return {}
        now = fingerprint(path)
        return {Condition.SCRIPT: now not in ("", before)}

    async def _let_in(self, name: str, way: Way) -> None:
        """Counted first: a crash in between rather counts a release that was none than the other way round."""
        key = f"x:{name}"

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            return {key: Write(encode(released(read_shut(state[key]))), KEEP_S)}

        await self._store.update((Turn(f"a:{name}", (key,), step),), Records)
        reason = ", ".join(way.met) or "its time has come"
        await self._pipeline.steer(name, Standing.POOR, who="penstock", reason=reason, now=self._now(), forget=True)

    async def _suspended(self) -> AsyncIterator[AccountRow]:
        search = AccountSearch(standing=Standing.SUSPENDED.value, order="account", limit=_PAGE)
        while rows := await self._store.accounts(search):
            for one in rows:
                yield one
            search = replace(search, after=(rows[-1].account, rows[-1].account))
