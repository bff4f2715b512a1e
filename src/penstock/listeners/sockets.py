"""Addresses to listen on and peers that may speak: what a listener needs before its protocol begins."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_BACKLOG = 1024


@lru_cache(maxsize=65536)
def is_in(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether a peer lies in one of the networks; a Unix socket has no address and is guarded by its file's mode."""
    if not address:
        return True
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return any((mapped or ip) in network for network in networks)


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The peer's IP address; empty for a Unix socket."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


def acknowledge(transport: asyncio.BaseTransport) -> None:
    """Acknowledge at once what has come over TCP and gets no answer of ours.

    A peer that writes in small pieces keeps the next one back until then (Nagle, RFC 896), and the kernel would wait
    40 ms for an answer to carry it (RFC 1122 section 4.2.3.2). Linux forgets the wish, so it is said each time.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # gone meanwhile; the loop will say so
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Sockets:
    """The listening sockets of one listener."""

    def __init__(
        self,
        listen: Sequence[str],
        factory: Callable[[], asyncio.Protocol],
        *,
        reuse_port: bool,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`listen` has `host:port`, `[v6]:port` or `unix:/path`; a process that opens a Unix path takes it over.

        With a `context` every connection begins with TLS.
        """
        self._context = context
        self._listen = listen
        self._factory = factory
        self._reuse_port = reuse_port
        self._servers: list[asyncio.Server] = []
        self._paths: dict[Path, int] = {}
        self.addresses: list[str] = []

    async def open(self) -> None:
        """Begin to listen everywhere. Raises OSError, with nothing left open."""
        try:
            for address in self._listen:
                await self._open(address)
        except OSError:
            self.close()
            raise

    async def _open(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        if address.startswith("unix:"):
            path = Path(address.removeprefix("unix:"))
            self._servers.append(await loop.create_unix_server(self._factory, str(path), backlog=_BACKLOG))
            self._note(path)
            return
        host, _, port = address.rpartition(":")
        server = await loop.create_server(
            self._factory,
            host.strip("[]"),
            int(port),
            backlog=_BACKLOG,
            reuse_port=self._reuse_port or None,
            ssl=self._context,
        )
        self._servers.append(server)
        for sock in server.sockets:
            name = sock.getsockname()
            self.addresses.append(
                f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
            )

    def _note(self, path: Path) -> None:
        self._paths[path] = path.stat().st_ino
        self.addresses.append(f"unix:{path}")

    def close(self) -> None:
        """Take no more connections; those that are open go on."""
        for server in self._servers:
            server.close()
        for path, inode in self._paths.items():
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:  # else another process has taken it over
                    path.unlink()
        self._servers.clear()
        self._paths.clear()
        self.addresses.clear()


class Session(Protocol):
    """One open connection."""

    def leave(self) -> None:
        """Close now if nothing is under way, else as soon as that is done."""

    def abort(self) -> None:
        """Break off."""

    def is_overdue(self, now: float) -> bool:
        """Whether the peer has been silent, or busy, for too long; `now` is the loop's time."""


class Sessions:
    """The open connections of one listener and the tasks that work for them."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._open: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.Task[None] | None = None
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, session: Session) -> None:
        """A connection has begun."""
        self._open.add(session)

    def discard(self, session: Session) -> None:
        """A connection has ended."""
        self._open.discard(session)
        self._look()

    def run(self, work: Coroutine[object, object, None], done: Callable[[asyncio.Task[None]], None]) -> None:
        """Run something to its end and hold on to it meanwhile: the loop itself holds tasks only weakly."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        task.add_done_callback(done)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look()

    def _look(self) -> None:
        if self.is_stopping and not self._open and not self._tasks:
            self._emptied.set()

    def begin(self, every_s: float) -> None:
        """From now on break off overdue connections, looking at them so often."""
        self._tidying = asyncio.get_running_loop().create_task(self._tidy(every_s))

    async def _tidy(self, every_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every_s)
            now = loop.time()
            for session in [one for one in self._open if one.is_overdue(now)]:
                session.abort()

    async def drain(self, grace_s: float) -> None:
        """Close what is idle, wait so long for what is under way, then break off."""
        self.is_stopping = True
        if self._tidying is not None:
            self._tidying.cancel()
        for session in list(self._open):
            session.leave()
        self._look()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), grace_s)
        for session in list(self._open):
            session.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
