"""Webhook calls from the outbox: at least once, again and again for a day, then given up and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from penstock.store.ports import Store

_BATCH = 50
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 1800.0
_GIVE_UP_S = 86400.0


class Receiver(Protocol):
    """Who is called."""

    async def call(self, key: str, payload: object, at: float) -> str:
        """Send one payload; empty where it was taken, else what went wrong."""


class Webhooks:
    """Calls one receiver. After a failure all wait, longer each time, since what comes next would fail too."""

    def __init__(
        self,
        store: Store,
        receiver: Receiver,
        log: Callable[[str], None],
        now: Callable[[], float],
        *,
        topic: str = "webhook",
    ) -> None:
        self._topic = topic
        self._store = store
        self._receiver = receiver
        self._log = log
        self._now = now
        self._pause_s = 0.0
        self._next_at = 0.0

    async def run_once(self) -> int:
        """Call with what waits, oldest first; how many were taken. Raises StoreUnavailable."""
        if self._now() < self._next_at:
            return 0
        taken = 0
        for item in await self._store.outbox(topic=self._topic, limit=_BATCH):
            now = self._now()
            trouble = await self._receiver.call(item.key, item.payload, now)
            if not trouble:
                self._pause_s = 0.0
                taken += 1
                await self._store.outbox_done(item.key, at=now, outcome="taken")
            elif now - item.at > _GIVE_UP_S:
                self._log(f"webhook given up: {item.key}: {trouble}")
                await self._store.outbox_done(item.key, at=now, outcome=f"given up: {trouble}"[:200])
            else:
                self._pause_s = min(max(self._pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                self._next_at = now + self._pause_s
                self._log(f"webhook failed: {item.key}: {trouble}; again in {self._pause_s:.0f} s")
                break
        return taken
