"""The SMTP relay: clients on one side, the next hop on the other, in step; the client's 250 is the next hop's 250."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import structlog
from msgspec import Struct

from penstock.clients.login import Login
from penstock.clients.next_hop import NextHop
from penstock.listeners.certificate import Certificate
from penstock.listeners.smtp_session import Relaying, Session
from penstock.listeners.sockets import Network, Sessions, Sockets, is_in, peer_of
from penstock.model import Connection
from penstock.pipeline import Gate
from penstock.protocols.smtp_data import Room
from penstock.protocols.smtp_events import Event, MailAsked, RcptAsked, ServerSettings
from penstock.protocols.smtp_server import SmtpServer

log = structlog.get_logger()
_PAUSE_BYTES = 65_536
"""Bytes that may wait behind an open question before the client is told to wait (flow control of TCP)."""
_TURN_BYTES = 131_072
"""After that much from one client it is the others' turn; uvloop would read on thirty times."""
_TIDY_S = 5.0
_PROMPT = (MailAsked, RcptAsked)


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
        certificate = Certificate(settings.certificate, settings.key) if settings.certificate is not None else None
        self.context = certificate.context if certificate is not None else None
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
        self.sessions = Sessions()
        self.per_client: Counter[str] = Counter()
        self._plain = Sockets(settings.listen, self._accept, reuse_port=settings.reuse_port)
        self._secured = Sockets(settings.listen_tls, self._accept, reuse_port=settings.reuse_port, context=self.context)

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
        self.sessions.begin(min(_TIDY_S, self.settings.idle_s / 2))

    async def stop(self, grace_s: float) -> None:
        """Take no more connections, say 421 to who is idle, and wait so long for messages in flight."""
        self._plain.close()
        self._secured.close()
        await self.sessions.drain(grace_s)


class _Client(asyncio.Protocol):
    """One client's connection: bytes between its transport and its session's machine.

    Its one task answers the questions; what raises none (EHLO, the bytes of a message) never wakes it.
    """

    def __init__(self, listener: SmtpListener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._began_at = self._heard_at = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._machine: SmtpServer | None = None
        self._session: Session | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._asked: Event | None = None
        self._peer_ip = ""
        self._is_answering = False
        self._is_paused = False
        self._is_blocked = False

    # Transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client unless there are too many."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        listener, settings = self._listener, self._listener.settings
        self._peer_ip = peer_of(transport)
        is_full = len(listener.sessions) >= settings.max_connections or listener.sessions.is_stopping
        if is_full or listener.per_client[self._peer_ip] >= settings.max_connections_per_client:
            listener.count("smtp-too-many-connections")
            self._transport.write(f"421 4.7.0 {settings.hostname} Too many connections\r\n".encode())
            self._transport.close()
            return
        listener.sessions.add(self)
        listener.per_client[self._peer_ip] += 1
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
        self._flush()
        self._session = Session(listener.relaying, self._machine, self._start_tls)
        listener.sessions.run(self._serve(self._session), self._ended)

    def data_received(self, data: bytes) -> None:
        """Read up to the next question."""
        machine = self._machine
        if machine is None:
            return
        self._heard_at = self._loop.time()
        machine.receive(data)
        if not self._is_answering:
            self._go_on()
        elif machine.waiting_bytes > _PAUSE_BYTES:
            self._pause()
        if len(data) >= _TURN_BYTES and not self._is_paused:
            self._pause()
            self._loop.call_soon(self._read_on)

    def _pause(self) -> None:
        self._is_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Read nothing more from a client that does not read its replies."""
        self._is_blocked = True
        self._pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_blocked = False
        self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client. A message that is under way goes on to its end, and the outcome is kept."""
        transport, self._transport = self._transport, None
        if self._machine is None or transport is None:
            return
        listener = self._listener
        listener.per_client[self._peer_ip] -= 1
        if not listener.per_client[self._peer_ip]:
            del listener.per_client[self._peer_ip]
        self._wake()
        listener.sessions.discard(self)

    # Session.

    async def _serve(self, session: Session) -> None:
        """Answer the client's questions one after another, until it is gone."""
        try:
            while (event := await self._question()) is not None:
                asked: Event | None = event
                while asked is not None:
                    await session.answer(asked)
                    asked = self._next()
                self._is_answering = False
                self._read_on()
        finally:
            await session.end()

    async def _question(self) -> Event | None:
        """The next question; None when the client is gone."""
        if self._asked is None and self._transport is not None:
            self._waiter = self._loop.create_future()
            await self._waiter
            self._waiter = None
        asked, self._asked = self._asked, None
        return asked

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _go_on(self) -> None:
        self._asked = self._next()
        if self._asked is not None:
            self._is_answering = True
            self._wake()

    def _next(self) -> Event | None:
        """The next question, after the replies that are ready were sent; none to a client that is gone or blocked."""
        machine, session = self._machine, self._session
        if machine is None or session is None or self._transport is None or self._is_blocked:
            return None
        event = machine.next_event()
        while event is not None and session.answer_at_once(event):
            event = machine.next_event()
        if type(event) not in _PROMPT:  # their replies go out together with what follows
            self._flush()
        if event is None and self._listener.sessions.is_stopping:
            self.leave()
        return event

    def _ended(self, task: asyncio.Task[None]) -> None:
        assert self._machine is not None
        trouble = None if task.cancelled() else task.exception()
        if trouble is not None:
            self._listener.count("smtp-failures")
            log.error("not-done", where="smtp", trouble=repr(trouble), exc_info=trouble)
        self._is_answering = False
        self._say_goodbye("Local trouble")
        self._machine.drop()

    def _read_on(self) -> None:
        if self._is_answering or self._is_blocked or self._transport is None or self._transport.is_closing():
            return
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
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

    async def _start_tls(self) -> str:
        """The handshake of STARTTLS; the version agreed on. Raises OSError, TimeoutError."""
        transport, context = self._transport, self._listener.context
        if transport is None:
            raise ConnectionResetError("the client left before the handshake")
        assert context is not None
        assert self._machine is not None
        self._flush()
        self._machine.forget_input()
        try:
            secured = await self._loop.start_tls(transport, self, context, server_side=True, ssl_handshake_timeout=30.0)
            if secured is None:
                raise ConnectionResetError("the client left during the handshake")
        except BaseException:
            transport.abort()
            self.connection_lost(None)  # nobody else tells: the transport was not ours any more
            raise
        self._transport = secured
        return _tls_version(secured)

    # Ends.

    def is_overdue(self, now: float) -> bool:
        """Whether the client has been silent, or here, for too long; never while it waits for an answer."""
        settings = self._listener.settings
        is_late = now - self._heard_at > settings.idle_s or now - self._began_at > settings.session_s
        if is_late and not self._is_answering:
            self._listener.count("smtp-timeouts")
            return True
        return False

    def leave(self) -> None:
        """Say goodbye, unless a message is under way; then `_next` comes back to it."""
        if not self._is_answering and not (self._machine is not None and self._machine.is_in_data):
            self._say_goodbye("Shutting down")

    def abort(self) -> None:
        """Say goodbye to a client that can hear it, and break off."""
        transport = self._transport
        if transport is not None and (transport.is_closing() or transport.get_write_buffer_size()):
            transport.abort()
        self._say_goodbye("Timed out")

    def _say_goodbye(self, why: str) -> None:
        if self._machine is not None:
            self._machine.shut_down(421, "4.4.2", f"{self._listener.settings.hostname} {why}")
            self._flush()


def _tls_version(transport: asyncio.BaseTransport) -> str:
    secured = transport.get_extra_info("ssl_object")
    return str(secured.version()) if secured is not None else ""
