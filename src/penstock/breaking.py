"""The circuit breaker over all accounts: when the machine has suspended many within an hour, it suspends no more."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from msgspec.structs import replace

from penstock.judge.breaker import KEEP_S, KEY, WINDOW_S, noted, suspended_lately
from penstock.judge.rules import Rules
from penstock.model import OutboxItem
from penstock.store.ports import Records, Store, StoreUnavailable, Turn, Write


class Breaking:
    """What the pipeline knows of the suspensions of the last hour. One process counts exactly; others follow it."""

    _store: Store
    _rules: Rules
    accounts = 0
    """How many there are, as far as somebody has counted them."""

    async def note_suspension(self, now: float) -> None:
        """The machine has suspended an account. A store that is away is no trouble: the next look makes up for it."""
        times: list[float] = []

        def step(state: Mapping[str, bytes | None]) -> Mapping[str, Write]:
            data = noted(state[KEY], now)
            times[:] = suspended_lately(data, now)
            return {KEY: Write(data, KEEP_S)}

        if self._rules.breaker is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._store.update((Turn(KEY, (KEY,), step),), Records)
                await self._close_or_open(times, now)

    async def look_at_breaker(self, now: float) -> None:
        """Follow what other processes did, and what time has healed. Raises StoreUnavailable."""
        if self._rules.breaker is not None:
            state = await self._store.read((KEY,))
            await self._close_or_open(suspended_lately(state[KEY], now), now)

    async def _close_or_open(self, times: list[float], now: float) -> None:
        rules = self._rules
        assert rules.breaker is not None
        most = rules.breaker.most(self.accounts)
        may_suspend = len(times) < most
        if may_suspend is rules.policy.may_suspend:
            return
        self._rules = replace(rules, policy=replace(rules.policy, may_suspend=may_suspend))
        if not may_suspend:
            payload: dict[str, object] = {"what": "breaker", "suspended": len(times), "most": most}
            item = OutboxItem(f"breaker/{now // WINDOW_S:.0f}", now, "notice", "all accounts", payload)
            await self._store.update((), lambda: Records(outbox=(item,)))
