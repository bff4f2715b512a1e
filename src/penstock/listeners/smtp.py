"""The SMTP relay: clients on one side, the next hop on the other, in step; the client's 250 is the next hop's 250."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from msgspec import Struct

from penstock.clients.login import Login
from penstock.clients.next_hop import NextHop
from penstock.listeners.smtp_session import Relaying, Session
from penstock.listeners.sockets import Network, Sockets, is_in, peer_of
from penstock.model import Connection
from penstock.pipeline import Gate
from penstock.protocols.smtp_data import Room
from penstock.protocols.smtp_events import ServerSettings
from penstock.protocols.smtp_server import SmtpServer

_PAUSE_BYTES = 4 * 1024 * 1024
"""Bytes that wait behind an open question before the client is told to wait (flow control of TCP)."""
_TICK_S = 1.0


class SmtpSettings(Struct, frozen=True):
    """The relay's settings; fields are those of the configuration."""

    hostname: str
    listen: tuple[str, ...] = ()
    listen_tls: tuple[str, ...] = ()
    trusted_networks: tuple[Network, ...] = ()
    forwarding_hosts: tuple[Network, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    auth_without_tls: bool = False
    max_message_bytes: int = 52_428_800
    max_recipients: int = 1000
    max_connections: int = 1000
    max_connections_per_client: int = 200
    max_errors: int = 20
    max_line_bytes: int = 65_536
    idle_s: float = 300.0
    session_s: float = 3600.0
    in_flight_bytes: int = 268_435_456
    ask_at_rcpt: bool = False
    """Ask the gate for each recipient too, because some pass even from suspended accounts."""
    reuse_port: bool = False


class SmtpListener:
    """Takes connections, runs their sessions, ends what stalls."""

    def __init__(
        self,
        settings: SmtpSettings,
        gate: Gate,
        next_hop: NextHop,
        pools: Mapping[str, NextHop],
        *,
        login: Login | None,
        count: Callable[[str], None],
        now: Callable[[], float],
        new_id: Callable[[float], str],
    ) -> None:
        """`pools` are those with a next hop of their own. Raises OSError and ssl.SSLError for the certificate."""
        self.settings = settings
        self.count = count
        self.room = Room(settings.in_flight_bytes)
        self.context = _context(settings)
        self.server_settings = ServerSettings(
            hostname=settings.hostname,
            max_message_bytes=settings.max_message_bytes,
            max_recipients=settings.max_recipients,
            max_line_bytes=settings.max_line_bytes,
            max_errors=settings.max_errors,
            has_tls=self.context is not None,
            has_auth=login is not None,
            auth_without_tls=settings.auth_without_tls,
        )
        self.relaying = Relaying(
            gate=gate,
            next_hop=next_hop,
            pools=pools,
            login=login,
            trusted_networks=settings.trusted_networks,
            hostname=settings.hostname,
            ask_at_rcpt=settings.ask_at_rcpt,
            count=count,
            now=now,
            new_id=new_id,
        )
        self.connections: set[_Client] = set()
        self.per_client: Counter[str] = Counter()
        self._plain = Sockets(settings.listen, self._accept, reuse_port=settings.reuse_port)
        self._secured = Sockets(settings.listen_tls, self._accept, reuse_port=settings.reuse_port, context=self.context)
        self._ticker: asyncio.Task[None] | None = None

    def _accept(self) -> asyncio.Protocol:
        return _Client(self)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, `host:port`."""
        return [*self._plain.addresses, *self._secured.addresses]

    async def start(self) -> None:
        """Begin to listen. Raises OSError."""
        await self._plain.open()
        try:
            await self._secured.open()
        except OSError:
            self._plain.close()
            raise
        self._ticker = asyncio.create_task(self._watch_times())

    async def stop(self, grace_s: float) -> None:
        """Take no more connections, say 421 to who is idle, and wait so long for messages in flight."""
        self._plain.close()
        self._secured.close()
        if self._ticker is not None:
            self._ticker.cancel()
        until = asyncio.get_running_loop().time() + grace_s
        for client in list(self.connections):
            client.stop()
        while self.connections and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.02)
            for client in list(self.connections):
                client.stop()
        for client in list(self.connections):
            client.abort()
        await asyncio.sleep(0)

    async def _watch_times(self) -> None:
        """One clock for all connections instead of a timer each."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = asyncio.get_running_loop().time()
            for client in list(self.connections):
                client.check_time(now)


class _Client(asyncio.Protocol):
    """One client's connection: bytes between its transport and its session's machine."""

    def __init__(self, listener: SmtpListener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._began = self._last = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._machine: SmtpServer | None = None
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._peer_ip = ""
        self._is_counted = False
        self._is_paused = False
        self._is_encrypting = False
        self._waiting_bytes = 0
        self._can_write: asyncio.Future[None] | None = None

    # Transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        if self._is_encrypting:
            return
        listener, settings = self._listener, self._listener.settings
        self._peer_ip = peer_of(transport)
        is_full = len(listener.connections) >= settings.max_connections
        if is_full or listener.per_client[self._peer_ip] >= settings.max_connections_per_client:
            listener.count("smtp-too-many-connections")
            self._transport.write(f"421 4.7.0 {settings.hostname} Too many connections\r\n".encode())
            self._transport.close()
            return
        listener.connections.add(self)
        listener.per_client[self._peer_ip] += 1
        self._is_counted = True
        listener.count("smtp-connections")
        self._begin(self._transport)

    def _begin(self, transport: asyncio.Transport) -> None:
        listener, settings = self._listener, self._listener.settings
        name = transport.get_extra_info("sockname")
        may_forward = bool(self._peer_ip) and is_in(self._peer_ip, settings.forwarding_hosts)
        connection = Connection(
            client_ip=self._peer_ip,
            peer_ip=self._peer_ip,
            port=name[1] if isinstance(name, tuple) else 0,
            tls=_tls_version(transport),
            listener="smtp",
            is_trusted_peer=may_forward or is_in(self._peer_ip, settings.trusted_networks),
        )
        self._machine = SmtpServer(listener.server_settings, connection, listener.room, may_forward=may_forward)
        self._session = Session(listener.relaying, self._machine, self._start_tls)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._last = self._loop.time()
        machine = self._machine
        if machine is None:
            return
        machine.receive(data)
        if self._task is not None:
            self._waiting_bytes += len(data)
            if self._waiting_bytes > _PAUSE_BYTES:
                self._pause()
            return
        self._go_on()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_counted:
            self._is_counted = False
            self._listener.connections.discard(self)
            self._listener.per_client[self._peer_ip] -= 1
            if not self._listener.per_client[self._peer_ip]:
                del self._listener.per_client[self._peer_ip]
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        if self._machine is not None and self._task is None:
            self._machine.drop()
            if self._session is not None and self._session.has_transaction:
                self._start(self._session.end())

    def pause_writing(self) -> None:
        self._can_write = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None

    # Session.

    def _go_on(self) -> None:
        assert self._machine is not None
        assert self._session is not None
        event = self._machine.next_event()
        if event is not None:
            self._start(self._session.run(event, self._flush))
        else:
            self._flush()

    def _start(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        # The task is kept on the connection, and the connection by its transport or the listener: a task that nobody
        # holds may be collected in the middle of a message.
        self._task = self._loop.create_task(work)
        _running.add(self._task)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        _running.discard(task)
        self._task = None
        self._waiting_bytes = 0
        trouble = None if task.cancelled() else task.exception()
        if trouble is not None:
            self._listener.count("smtp-faults")
            self._loop.call_exception_handler({"message": "SMTP session failed", "exception": trouble})
            self.abort()
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            if self._machine is not None:
                self._machine.drop()
            if self._session is not None and self._session.has_transaction:
                self._start(self._session.end())
            return
        self._flush()
        if self._is_paused:
            self._is_paused = False
            transport.resume_reading()
        if self._machine is not None and not self._machine.is_closed:
            self._go_on()

    def _flush(self) -> None:
        transport, machine = self._transport, self._machine
        if transport is None or machine is None or transport.is_closing():
            return
        output = machine.take_output()
        if output:
            transport.write(output)
        if machine.is_closed:
            transport.close()

    def _pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    async def _start_tls(self) -> str:
        """The handshake of STARTTLS; the version agreed on. Raises OSError, ssl.SSLError."""
        transport, context = self._transport, self._listener.context
        assert transport is not None
        assert context is not None
        assert self._machine is not None
        self._flush()
        self._machine.forget_input()
        self._is_encrypting = True
        try:
            secured = await self._loop.start_tls(transport, self, context, server_side=True, ssl_handshake_timeout=30.0)
        finally:
            self._is_encrypting = False
        if secured is None:
            raise ConnectionResetError("the client left during the handshake")
        self._transport = secured
        return _tls_version(secured)

    # Ends.

    def check_time(self, now: float) -> None:
        """End what is silent for too long, or lasts too long; never in the middle of an answer."""
        settings = self._listener.settings
        if self._task is not None:
            return
        if now - self._last > settings.idle_s or now - self._began > settings.session_s:
            self._listener.count("smtp-timeouts")
            self._say_goodbye("Timed out")

    def stop(self) -> None:
        """Goodbye, unless a message is in flight."""
        if self._task is None and not (self._machine is not None and self._machine.is_in_data):
            self._say_goodbye("Shutting down")

    def _say_goodbye(self, why: str) -> None:
        if self._machine is not None:
            self._machine.shut_down(421, "4.4.2", f"{self._listener.settings.hostname} {why}")
            self._flush()

    def abort(self) -> None:
        """Let go at once."""
        if self._transport is not None:
            self._transport.abort()


_running: set[asyncio.Task[None]] = set()


def _tls_version(transport: asyncio.BaseTransport) -> str:
    secured = transport.get_extra_info("ssl_object")
    return str(secured.version()) if secured is not None else ""


def _context(settings: SmtpSettings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    return context
