"""The console's listener: uvicorn in Penstock's own process and loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

_LINGER_S = 2
"""Streams of live numbers are cut off after this."""


class _Server(uvicorn.Server):
    """Signals are the service's alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them as they are."""
        yield


class ConsoleListener:
    """Serves the site on its addresses."""

    def __init__(self, app: ASGIApp, listen: Sequence[str], trusted_proxies: Sequence[str]) -> None:
        """`listen` has `host:port`, `[v6]:port` or `unix:/path`."""
        self._listen = listen
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=list(trusted_proxies),
            limit_concurrency=200,
            timeout_graceful_shutdown=_LINGER_S,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None
        self._paths: list[Path] = []
        self.addresses: list[str] = []

    async def start(self) -> None:
        """Begin to listen. Raises OSError, with nothing left open."""
        sockets = list[socket.socket]()
        try:
            for address in self._listen:
                sockets.append(self._open(address))
        except OSError:
            for one in sockets:
                one.close()
            raise
        self._task = asyncio.create_task(self._server.serve(sockets))

    def _open(self, address: str) -> socket.socket:
        if address.startswith("unix:"):
            path = Path(address.removeprefix("unix:"))
            path.unlink(missing_ok=True)
            made = socket.socket(socket.AF_UNIX)
            made.bind(str(path))
            self._paths.append(path)
            self.addresses.append(address)
            return made
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        # Only where the protocol is named does asyncio turn Nagle's algorithm off for what is accepted.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, int(port)))
        except OSError:
            made.close()
            raise
        name = made.getsockname()
        self.addresses.append(f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}")
        return made

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, and wait a moment for those under way."""
        task, self._task = self._task, None
        if task is None:
            return
        self._server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(task, _LINGER_S + min(grace_s, 3.0))
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._paths.clear()
        self.addresses.clear()
