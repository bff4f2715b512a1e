"""A stub resolver for much DNS: datagrams from several sockets with random ports, resent when lost, TCP where cut.

It asks recursive resolvers, never the lists' servers themselves. "No answer" is a value. An answer is taken only from
the server that was asked, on the socket from which it was asked, with the same id and the same question.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections import deque
from pathlib import Path

from msgspec import Struct

from penstock.protocols import dns_wire
from penstock.protocols.dns_wire import BadMessage, Kind
from penstock.protocols.dnsbl import Rcode, Reply

_SOCKETS = 8
"""Each has a source port of its own; a forger has to guess one of them, and the id, and the question."""
_SOCKET_BYTES = 4 * 1024 * 1024
_MOST_PENDING = 16_384
"""Questions of one socket at once, a quarter of the ids, so that a free one is found soon."""
_SWEEP_S = 0.05
_MOST_CACHED = 20_000
_LONGEST_CACHED_S = 3600
_FAILED = Reply(Rcode.TIMEOUT)


class ResolverSettings(Struct, frozen=True):
    """Whom to ask, and how long."""

    servers: tuple[tuple[str, int], ...]
    """(address, port); the next is tried when one does not answer."""
    timeout_s: float = 2.0
    """Before a question is sent again."""
    tries: int = 3


class _Pending(Struct, eq=False):
    """A question on its way."""

    asked: bytes
    done: asyncio.Future[Reply]
    tries_left: int
    deadline: float
    link: int
    id: int


class Resolver:
    """Asks, remembers for as long as the answers say, and never raises for what the network does."""

    def __init__(self, settings: ResolverSettings) -> None:
        self._settings = settings
        self._links: list[_Link] = []
        self._waiting: deque[_Pending] = deque()
        self._cache: dict[bytes, tuple[float, Reply]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._fetching: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.sent = 0
        """Datagrams sent, for measures."""

    async def __aenter__(self) -> Resolver:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Open the sockets. Raises OSError where none of the servers can be reached at all."""
        loop = asyncio.get_running_loop()
        for server in self._settings.servers:
            for _ in range(_SOCKETS):
                link = _Link(self)
                transport, _ = await loop.create_datagram_endpoint(lambda link=link: link, remote_addr=server)  # type: ignore[misc]
                handle = transport.get_extra_info("socket")
                if handle is not None:
                    handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
                link.transport = transport
                self._links.append(link)
        self._sweeper = asyncio.create_task(self._sweep(), name="penstock-dns")

    async def close(self) -> None:
        """Let go; what is on its way ends as no answer."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for task in self._fetching:
            task.cancel()
        for link in self._links:
            if link.transport is not None:
                link.transport.close()
            for pending in list(link.pending.values()):
                _settle(pending, _FAILED)
        self._links.clear()

    async def ask(self, name: str, kind: Kind = Kind.A) -> Reply:
        """The answer to one question; TIMEOUT where none came. Raises ValueError for a name that DNS cannot carry."""
        return await self.ask_wire(dns_wire.question(name, kind))

    async def ask_wire(self, asked: bytes) -> Reply:
        """The answer to a question section."""
        loop = asyncio.get_running_loop()
        kept = self._cache.get(asked)
        if kept is not None:
            if kept[0] > loop.time():
                return kept[1]
            del self._cache[asked]
        pending = _Pending(asked, loop.create_future(), self._settings.tries, 0.0, -1, 0)
        self._send(pending, loop.time())
        self._waiting.append(pending)
        reply = await pending.done
        if reply.ttl_s:
            self._keep(asked, reply, loop.time())
        return reply

    def _keep(self, asked: bytes, reply: Reply, now: float) -> None:
        if len(self._cache) >= _MOST_CACHED:
            del self._cache[next(iter(self._cache))]
        self._cache[asked] = (now + min(reply.ttl_s, _LONGEST_CACHED_S), reply)

    def _send(self, pending: _Pending, now: float) -> None:
        """Send, or send again: from another socket with another id, to the next server when there are several."""
        if pending.link >= 0:
            self._links[pending.link].pending.pop(pending.id, None)
        tried = self._settings.tries - pending.tries_left
        server = tried % len(self._settings.servers)
        self._turn = (self._turn + 1) % _SOCKETS
        pending.link = server * _SOCKETS + self._turn
        pending.tries_left -= 1
        pending.deadline = now + self._settings.timeout_s
        link = self._links[pending.link]
        pending.id = link.free_id()
        link.pending[pending.id] = pending
        self.sent += 1
        if link.transport is not None:
            link.transport.sendto(dns_wire.query(pending.id, pending.asked))

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            now, waiting = loop.time(), self._waiting
            # All wait equally long, so that they are in the order of their deadlines.
            while waiting and (waiting[0].done.done() or waiting[0].deadline <= now):
                pending = waiting.popleft()
                if pending.done.done():
                    continue
                if pending.tries_left > 0:
                    self._send(pending, now)
                    waiting.append(pending)
                else:
                    self._links[pending.link].pending.pop(pending.id, None)
                    _settle(pending, _FAILED)

    def heard(self, pending: _Pending, message: bytes) -> None:
        """A datagram that may answer. What does not is as if it had never come."""
        try:
            heard = dns_wire.hear(message, pending.asked)
        except BadMessage:
            return
        self._links[pending.link].pending.pop(pending.id, None)
        if heard.is_cut:
            server = self._settings.servers[pending.link // _SOCKETS]
            task = asyncio.get_running_loop().create_task(self._by_tcp(pending, server))
            self._fetching.add(task)
            task.add_done_callback(self._fetching.discard)
        else:
            _settle(pending, heard.reply)

    async def _by_tcp(self, pending: _Pending, server: tuple[str, int]) -> None:
        message = dns_wire.query(secrets.randbits(16), pending.asked)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                reader, writer = await asyncio.open_connection(*server)
                try:
                    writer.write(len(message).to_bytes(2, "big") + message)
                    answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                finally:
                    writer.close()
            reply = dns_wire.hear(answer, pending.asked).reply if answer[:2] == message[:2] else _FAILED
        except (OSError, TimeoutError, EOFError, BadMessage):
            reply = _FAILED
        _settle(pending, reply)


class _Link(asyncio.DatagramProtocol):
    """One socket, connected to one server, so that the kernel drops what others send."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.transport: asyncio.DatagramTransport | None = None
        self.pending: dict[int, _Pending] = {}
        self._ids: list[int] = []

    def free_id(self) -> int:
        """A random id that is not in use; random numbers are drawn many at a time."""
        while True:
            if not self._ids:
                self._ids = list(memoryview(secrets.token_bytes(1024)).cast("H"))
            id = self._ids.pop()
            if id not in self.pending:
                return id
            if len(self.pending) >= _MOST_PENDING:
                stale = next(iter(self.pending))
                _settle(self.pending.pop(stale), _FAILED)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Something came."""
        if len(data) >= 12:
            pending = self.pending.get(data[0] << 8 | data[1])
            if pending is not None:
                self._resolver.heard(pending, data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: the question is sent again in its time."""


def _settle(pending: _Pending, reply: Reply) -> None:
    if not pending.done.done():
        pending.done.set_result(reply)


def system_servers(path: Path = Path("/etc/resolv.conf")) -> tuple[tuple[str, int], ...]:
    """The system's resolvers; 127.0.0.1 where it names none."""
    found = list[tuple[str, int]]()
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1]):
            found.append((words[1], 53))
    return tuple(found[:3]) or (("127.0.0.1", 53),)


def servers_of(text: str) -> tuple[tuple[str, int], ...]:
    """The resolver that is named, or else the system's. Raises ValueError."""
    return (server_of(text),) if text else system_servers()


def server_of(text: str) -> tuple[str, int]:
    """`HOST`, `HOST:PORT` or `[V6]:PORT`. Raises ValueError."""
    host, port = text, "53"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not _is_address(host) or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f'"{text}" is no resolver; write its address, e.g. 127.0.0.1:53 or [::1]:53')
    return host, int(port)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
