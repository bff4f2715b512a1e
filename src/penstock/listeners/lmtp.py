"""The LMTP listener: where the mail server hands in bounces and complaints, and learns at once whether they were taken.

What says nothing to Penstock is refused, so that whoever wrote it hears of it: nothing that comes here is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from msgspec import Struct

from penstock.listeners.sockets import Network, Sockets, is_in, peer_of
from penstock.model import Connection, Reply
from penstock.protocols.smtp_data import Room
from penstock.protocols.smtp_events import Closed, Event, MailAsked, MessageAsked, RcptAsked, Reset, ServerSettings
from penstock.protocols.smtp_server import SmtpServer

log = structlog.get_logger()
_OK = Reply(250, "2.1.0", "Ok")
_STRANGER = Reply(550, "5.7.1", "Not for you")
_LATER = Reply(451, "4.3.0", "Not possible at the moment; try again later")
_READ_BYTES = 65536
_MOST_CONNECTIONS = 64
_IDLE_S = 300.0
_ROOM_BYTES = 64 << 20

Take = Callable[[bytes], Awaitable[Reply]]
"""What is done with a message; the reply goes to its sender."""


class LmtpSettings(Struct, frozen=True):
    """What the LMTP listener is told."""

    hostname: str
    listen: tuple[str, ...]
    trusted_networks: tuple[Network, ...]
    reuse_port: bool = False
    max_message_bytes: int = 16_777_216
    idle_s: float = _IDLE_S


class LmtpListener:
    """Takes what comes back, from the mail server alone."""

    def __init__(self, settings: LmtpSettings, take: Take, *, count: Callable[[str], None]) -> None:
        self._settings = settings
        self._take = take
        self._count = count
        self._room = Room(_ROOM_BYTES)
        self._machine_settings = ServerSettings(
            settings.hostname,
            settings.max_message_bytes,
            max_recipients=100,
            max_line_bytes=settings.max_message_bytes,  # bounces quote whatever was sent
            max_errors=10,
            is_lmtp=True,
        )
        self._sockets = Sockets(settings.listen, self._accept, reuse_port=settings.reuse_port)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[str]:
        """Where it listens."""
        return self._sockets.addresses

    async def start(self) -> None:
        """Begin to listen. Raises OSError."""
        await self._sockets.open()

    async def stop(self, grace_s: float) -> None:
        """Take no more connections; what is under way has so long."""
        self._sockets.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=min(grace_s, 1.0))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> asyncio.Protocol:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_READ_BYTES, loop)
        return asyncio.StreamReaderProtocol(reader, self._connected, loop)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) > _MOST_CONNECTIONS:
                writer.write(f"421 4.7.0 {self._settings.hostname} Too many connections\r\n".encode())
                return
            await self._serve(reader, writer)
        except (OSError, TimeoutError):
            self._count("lmtp-broken-off")
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.transport)
        connection = Connection(client_ip=peer, peer_ip=peer, listener="lmtp")
        machine = SmtpServer(self._machine_settings, connection, self._room, may_forward=False)
        is_trusted = is_in(peer, self._settings.trusted_networks)
        try:
            while not machine.is_closed:
                writer.write(machine.take_output())
                async with asyncio.timeout(self._settings.idle_s):
                    await writer.drain()
                    data = await reader.read(_READ_BYTES)
                if not data:
                    return
                machine.receive(data)
                while (event := machine.next_event()) is not None and not isinstance(event, Closed):
                    if not isinstance(event, Reset):
                        machine.answer(await self._answer(event, is_trusted=is_trusted))
            writer.write(machine.take_output())
        finally:
            machine.drop()

    async def _answer(self, event: Event, *, is_trusted: bool) -> Reply:
        match event:
            case MailAsked():
                return _OK
            case RcptAsked():
                return _OK if is_trusted else _STRANGER
            case MessageAsked():
                self._count("lmtp-messages")
                try:
                    return await self._take(b"".join(event.chunks))
                except Exception as trouble:
                    log.error("not-done", where="lmtp", trouble=repr(trouble), exc_info=trouble)
                    return _LATER
            case _:
                return _LATER
