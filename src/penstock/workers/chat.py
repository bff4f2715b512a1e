"""Notices as chat messages: what waits is said together, at most so often, and tried again for a day."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from penstock.store.ports import Store

TOPIC = "chat"
_MOST_LINES = 20
_EVERY_S = 60.0
_GIVE_UP_S = 86400.0


class Speaker(Protocol):
    """Who says it."""

    async def say(self, title: str, text: str) -> str:
        """Say something; empty where it was taken, else what went wrong."""


class ChatNotices:
    """One message a minute at most."""

    def __init__(
        self, store: Store, speaker: Speaker, log: Callable[[str], None], now: Callable[[], float], *, hostname: str
    ) -> None:
        self._store = store
        self._speaker = speaker
        self._log = log
        self._now = now
        self._hostname = hostname
        self._next_at = 0.0

    async def run_once(self) -> int:
        """Say what waits; how many notices went. Raises StoreUnavailable."""
        now = self._now()
        items = await self._store.outbox(topic=TOPIC, limit=_MOST_LINES) if now >= self._next_at else []
        if not items:
            return 0
        self._next_at = now + _EVERY_S
        text = "\n".join(str(item.payload.get("text", item.target)) for item in items)
        trouble = await self._speaker.say(f"Penstock at {self._hostname}", text)
        if trouble:
            self._log(f"chat: {trouble}")
        done = [item for item in items if not trouble or now - item.at > _GIVE_UP_S]
        for item in done:
            await self._store.outbox_done(item.key, at=now, outcome=f"given up: {trouble}" if trouble else "said")
        return len(done)
