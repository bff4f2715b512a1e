"""The milter listener: a mail server's packets on one side, the pipeline on the other.

A connection has at most one task, which answers its open question and those that have already come behind it. What
comes while it runs waits, and after the first piece nothing more is read: a mail server that hurries fills no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import structlog
from msgspec import Struct

from penstock.listeners.sockets import Network, Sessions, Sockets, acknowledge, is_in, peer_of
from penstock.model import Action, Connection, Decision, Opening, Reply, Submission
from penstock.pipeline import Gate
from penstock.protocols.milter import Bounds, MailAsked, MessageAsked, Milter, Quit, Room
from penstock.protocols.milter_packets import MilterError

log = structlog.get_logger()
_TROUBLE = Reply(451, "4.3.0", "[PS-FAILURE] Local trouble, please try again later")
_TIDY_S = 15.0


class MilterSettings(Struct, frozen=True):
    """What the milter listener is told."""

    listen: tuple[str, ...]
    trusted_networks: tuple[Network, ...]
    """Mail servers that may connect; others are closed at once."""
    max_message_bytes: int = 52_428_800
    outbound_only: bool = False
    remote_mailers: frozenset[str] = frozenset({"smtp", "relay", "smtps"})
    reuse_port: bool = False
    in_flight_bytes: int = 268_435_456
    """Bytes of messages in memory at once; beyond it messages are judged by their first 64 KiB."""
    max_connections: int = 4000
    """Connections at once: a mail server opens one for each of its SMTP sessions."""
    idle_s: float = 3600.0
    """Seconds without a byte before a connection is closed; an SMTP client may dawdle between its commands."""


class MilterListener:
    """Listens for mail servers that speak the milter protocol."""

    def __init__(
        self,
        settings: MilterSettings,
        gate: Gate,
        *,
        count: Callable[[str], None],
        now: Callable[[], float],
        new_id: Callable[[float], str],
    ) -> None:
        self.settings = settings
        self.gate = gate
        self.count = count
        self.now = now
        self.new_id = new_id
        self.bounds = Bounds(max_message_bytes=settings.max_message_bytes)
        self.room = Room(settings.in_flight_bytes)
        self.sessions = Sessions()
        self._sockets = Sockets(settings.listen, lambda: _Session(self), reuse_port=settings.reuse_port)
        self.addresses = self._sockets.addresses

    async def start(self) -> None:
        """Begin to listen. Raises OSError."""
        await self._sockets.open()
        self.sessions.begin(min(_TIDY_S, self.settings.idle_s))

    async def stop(self, grace_s: float) -> None:
        """Close what is idle, wait so long for messages under way, then break off."""
        self._sockets.close()
        await self.sessions.drain(grace_s)

    async def answer(self, milter: Milter, event: MailAsked | MessageAsked) -> None:
        """Answer one question; trouble of ours is a 451, never a refusal for good."""
        try:
            if isinstance(event, MailAsked):
                admission = await self.gate.admit(Opening(event.connection, event.mail_from, self.now()))
                refusal = admission.refusal
                self.count("milter-mail-refused" if refusal else "milter-mail")
                milter.refuse(refusal) if refusal else milter.proceed()
            else:
                decision = await self.gate.judge(self._submission(event))
                self.count("milter-messages")
                _tell(milter, decision)
        except Exception as trouble:
            self.count("milter-failures")
            log.error("not-done", where="milter", trouble=repr(trouble), exc_info=trouble)
            if milter.is_waiting:
                milter.refuse(_TROUBLE)

    def _submission(self, event: MessageAsked) -> Submission:
        now = self.now()
        return Submission(
            id=self.new_id(now),
            received_at=now,
            connection=event.connection,
            envelope=event.envelope,
            raw=event.raw,
            queue_id=event.queue_id,
            is_cut=event.is_cut,
            local_recipients=not self.settings.outbound_only and not event.mailers <= self.settings.remote_mailers,
        )


def _tell(milter: Milter, decision: Decision) -> None:
    match decision.action:
        case Action.ACCEPT:
            milter.accept(remove=decision.remove_headers, add=decision.add_headers)
        case Action.HOLD:
            milter.discard()
        case _:
            milter.refuse(decision.reply or _TROUBLE)


class _Session(asyncio.Protocol):
    """One connection of a mail server."""

    def __init__(self, listener: MilterListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._milter: Milter | None = None
        self._is_blocked = False
        self._is_answering = False
        self._is_paused = False
        self._heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let mail servers in and nobody else."""
        transport = cast(asyncio.Transport, transport)  # uvloop has no subclasses of asyncio's
        listener, peer = self._listener, peer_of(transport)
        if not is_in(peer, listener.settings.trusted_networks):
            listener.count("milter-strangers")
            log.warning("milter-stranger", peer=peer)
            transport.abort()
            return
        if len(listener.sessions) >= listener.settings.max_connections or listener.sessions.is_stopping:
            listener.count("milter-connections-refused")
            transport.abort()
            return
        listener.count("milter-connections")
        self._transport = transport
        self._milter = Milter(
            Connection(peer_ip=peer, listener="milter", is_trusted_peer=True), listener.bounds, listener.room
        )
        self._heard_at = asyncio.get_running_loop().time()
        listener.sessions.add(self)

    def data_received(self, data: bytes) -> None:
        """Read up to the next question."""
        if self._milter is None:
            return
        self._heard_at = asyncio.get_running_loop().time()
        self._milter.receive(data)
        if self._is_answering:
            self._pause()
        else:
            self._go_on()
            if not self._is_answering and self._transport is not None:
                acknowledge(self._transport)

    def _pause(self) -> None:
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._is_answering or self._is_blocked:
            return
        event = self._next()
        if event is not None and self._transport is not None:
            self._is_answering = True
            self._listener.sessions.run(self._answer(event), self._answered)

    def _next(self) -> MailAsked | MessageAsked | None:
        """The next question, after sending what is to be sent; the connection closes where it should."""
        milter, transport = self._milter, self._transport
        if milter is None or transport is None or transport.is_closing():
            return None
        try:
            event = milter.next_event()
            while isinstance(event, MailAsked) and not self._listener.gate.may_refuse:
                self._listener.count("milter-mail")
                milter.proceed()
                event = milter.next_event()
        except MilterError as trouble:
            self._listener.count("milter-errors")
            log.warning("milter-error", trouble=str(trouble))
            event = Quit()
        output = milter.take_output()
        if output:
            transport.write(output)
        is_done = self._listener.sessions.is_stopping and event is None and not milter.is_in_message
        if isinstance(event, Quit) or is_done:
            transport.close()
            return None
        return event

    async def _answer(self, event: MailAsked | MessageAsked) -> None:
        """Answer this question and those that wait behind it."""
        asked: MailAsked | MessageAsked | None = event
        while asked is not None and self._milter is not None:
            await self._listener.answer(self._milter, asked)
            asked = None if self._is_blocked else self._next()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._is_answering = False
        if not task.cancelled() and task.exception() is not None:
            self._listener.count("milter-failures")
            log.error("not-done", where="milter", trouble=repr(task.exception()), exc_info=task.exception())
            self.abort()
        if self._transport is None and self._milter is not None:
            self._milter.close()
        elif not self._is_blocked:
            self._read_on()

    def _read_on(self) -> None:
        if not self._is_answering and self._transport is not None and not self._transport.is_closing():
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
            self._go_on()

    def pause_writing(self) -> None:
        """Answer nothing more to a mail server that does not read."""
        self._is_blocked = True
        self._pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_blocked = False
        self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection. A message that is being judged is judged to its end: what acts on it is kept."""
        self._listener.sessions.discard(self)
        self._transport = None
        if self._milter is not None and not self._is_answering:
            self._milter.close()

    def leave(self) -> None:
        """Close now where no message is under way."""
        if self._transport is not None and not self._is_answering and not (self._milter and self._milter.is_in_message):
            self._transport.close()

    def abort(self) -> None:
        """Break off."""
        if self._transport is not None:
            self._transport.abort()

    def is_overdue(self, now: float) -> bool:
        """Whether nothing has come for too long."""
        is_silent = not self._is_answering and now - self._heard_at > self._listener.settings.idle_s
        if is_silent:
            self._listener.count("milter-idle-closed")
        return is_silent
