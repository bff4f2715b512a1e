"""Chat messages through Apprise, which speaks with a hundred services; an optional extra."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from typing import Any

_TIMEOUT_S = 30.0


class Chat:
    """All services that the settings name."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Raises ValueError for a URL that Apprise does not know, or where Apprise is not installed."""
        try:
            apprise = importlib.import_module("apprise")
        except ModuleNotFoundError:
            raise ValueError("notices.chat needs Apprise: pip install penstock[notify]") from None
        self._services: Any = apprise.Apprise()
        for number, url in enumerate(urls):
            if not self._services.add(url):
                raise ValueError(f"notices.chat[{number}]: Apprise knows no such service")

    async def say(self, title: str, text: str) -> str:
        """Say something everywhere; empty where all took it, else what went wrong."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                is_taken = await self._services.async_notify(body=text, title=title)
        except TimeoutError:
            return f"no answer within {_TIMEOUT_S:.0f} s"
        return "" if is_taken else "a service did not take it"
