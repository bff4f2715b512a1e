"""Now: what the gate is doing, seen in five seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from penstock.console.flow import Flow, look
from penstock.console.site import Door, Visit
from penstock.store.ports import StoreUnavailable

_EVERY_S = 5.0
_TIMES = 180
"""A stream ends after fifteen minutes; the browser opens the next by itself, and a session that ended shows."""
_MOST_STREAMS = 50
_streams = 0


async def _look(visit: Visit) -> Flow:
    return await look(visit.site, visit.sight, visit.viewer)


async def show(visit: Visit) -> Response:
    """The page."""
    return visit.show("now.html", flow=await _look(visit))


async def follow(visit: Visit) -> Response:
    """Its middle, again and again, as server-sent events (WHATWG HTML, section 9.2)."""
    if _streams >= _MOST_STREAMS:
        return Response("too many viewers at once", 503, {"retry-after": "60"})
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(visit), media_type="text/event-stream", headers=headers)


async def _events(visit: Visit) -> AsyncIterator[str]:
    global _streams
    _streams += 1
    try:
        for _ in range(_TIMES):
            try:
                page = visit.show("live.html", flow=await _look(visit))
            except StoreUnavailable:
                yield ": the store does not answer\n\n"
            else:
                lines = bytes(page.body).decode().splitlines()
                yield "event: now\n" + "".join(f"data: {line}\n" for line in lines) + "\n"
            await asyncio.sleep(_EVERY_S)
    finally:
        _streams -= 1


DOORS = (Door("/", show), Door("/now/events", follow))
