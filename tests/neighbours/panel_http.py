"""A panel's HTTP API for tests: answers what it is told to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct


class Request(Struct):
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class PanelHttp:
    """`async with PanelHttp(answer) as panel`: `answer(request)` gives status and body; None ends the connection."""

    def __init__(self, answer: Callable[[Request], tuple[int, str] | None]) -> None:
        self.answer = answer
        self.requests: list[Request] = []

    async def __aenter__(self) -> PanelHttp:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(20):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                parts = urlsplit(target)
                request = Request(
                    method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body
                )
                self.requests.append(request)
                if (answered := self.answer(request)) is not None:
                    status, text = answered
                    data = text.encode()
                    writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n".encode())
                    writer.write(b"Connection: close\r\n\r\n" + data)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        writer.close()
