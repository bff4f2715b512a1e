"""The MTA that delivers: transactions in step with our client's, over connections that are used again."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from penstock.model import Reply
from penstock.protocols.smtp_client import (
    Answer,
    AnswerReader,
    ProtocolFault,
    extensions_of,
    mail_command,
    rcpt_command,
    stuffed,
)

_DOWN = Reply(451, "4.4.1", "The next hop does not answer; try again later")
_LOST = Reply(451, "4.4.2", "The connection to the next hop was lost; try again later")
_IDLE_S = 60.0
"""Postfix closes a silent client after 300 s, under stress after 10 s; a stale connection is noticed and replaced."""


class NextHopUnavailable(Exception):
    """The next hop cannot take the message now; `reply` (4xx) is what the client is told."""

    def __init__(self, reply: Reply, detail: str = "") -> None:
        super().__init__(detail or reply.text)
        self.reply = reply


class Transaction(Protocol):
    """One mail transaction at the next hop."""

    mail: Reply
    """The reply to MAIL; with an error in it, only `abort` may follow."""

    async def rcpt(self, address: str) -> Reply:
        """Name a recipient. Raises NextHopUnavailable."""

    async def data(self, raw: bytes) -> Reply:
        """Hand the message over; the reply after the final dot. Raises NextHopUnavailable."""

    async def abort(self) -> None:
        """End without a message. Never raises."""


class NextHop(Protocol):
    """Where accepted mail goes."""

    async def open(self, mail_from: str, parameters: tuple[str, ...]) -> Transaction:
        """Begin a transaction. Raises NextHopUnavailable."""

    async def send(
        self, mail_from: str, rcpt_to: Sequence[str], parameters: tuple[str, ...], raw: bytes
    ) -> tuple[tuple[str, int, str], ...]:
        """A whole message at once; (recipient, code, text) each. Raises NextHopUnavailable."""

    async def check(self) -> str:
        """For the doctor: the server's greeting. Raises NextHopUnavailable."""

    async def close(self) -> None:
        """Let connections go."""


class NextHopSettings(Struct, frozen=True):
    """How the next hop is reached."""

    address: str
    """`host:port` or `unix:/path`."""
    helo: str
    starttls: bool = False
    connect_s: float = 10.0
    command_s: float = 60.0
    data_s: float = 600.0
    max_idle: int = 20


class _Wire(asyncio.Protocol):
    """One connection: bytes out, replies in, in order."""

    def __init__(self) -> None:
        self.extensions: dict[str, str] = {}
        self.greeting = ""
        self.is_open = False
        self.idle_since = 0.0
        self._reader = AnswerReader()
        self._answers: deque[Answer] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self._transport: asyncio.Transport | None = None
        self._can_write: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        try:
            self._answers += self._reader.feed(data)
        except ProtocolFault as fault:
            self._fail(fault)
            self.close()
            return
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._fail(exc or ConnectionResetError("the next hop closed the connection"))
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)

    def pause_writing(self) -> None:
        self._can_write = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None

    def _fail(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def drain(self) -> None:
        if self._can_write is not None:
            await self._can_write

    async def answer(self, timeout_s: float) -> Answer:
        """The next reply. Raises OSError, ProtocolFault, TimeoutError."""
        if not self._answers:
            if self._fault is not None:
                raise self._fault
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._waiter
            finally:
                self._waiter = None
            if not self._answers:
                raise self._fault or ConnectionResetError("the next hop closed the connection")
        return self._answers.popleft()

    async def encrypt(self, host: str, context: ssl.SSLContext, timeout_s: float) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(
            self._transport, self, context, server_hostname=host, ssl_handshake_timeout=timeout_s
        )
        assert transport is not None
        self._transport = transport

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


_TROUBLE = (OSError, ProtocolFault, TimeoutError)


class SmtpNextHop:
    """The next hop over SMTP."""

    def __init__(self, settings: NextHopSettings) -> None:
        self._settings = settings
        self._idle: list[_Wire] = []

    async def open(self, mail_from: str, parameters: tuple[str, ...]) -> Transaction:
        """Begin a transaction; a connection that turns out to be stale is replaced once."""
        while True:
            wire, is_fresh = await self._take()
            try:
                wire.write(mail_command(mail_from, parameters, wire.extensions))
                answer = await wire.answer(self._settings.command_s)
            except _TROUBLE as trouble:
                wire.close()
                if is_fresh:
                    raise NextHopUnavailable(_DOWN, repr(trouble)) from trouble
                continue
            if answer.code == 421 and not is_fresh:
                wire.close()
                continue
            return _SmtpTransaction(self, wire, answer.reply(), self._settings)

    async def send(
        self, mail_from: str, rcpt_to: Sequence[str], parameters: tuple[str, ...], raw: bytes
    ) -> tuple[tuple[str, int, str], ...]:
        """A whole message at once."""
        return await send_through(self, mail_from, rcpt_to, parameters, raw)

    async def check(self) -> str:
        """The server's greeting."""
        wire, _ = await self._take()
        self.give_back(wire)
        return wire.greeting

    async def close(self) -> None:
        """Let idle connections go."""
        for wire in self._idle:
            if wire.is_open:
                wire.write(b"QUIT\r\n")
                wire.close()
        self._idle.clear()

    def give_back(self, wire: _Wire) -> None:
        """Keep a connection for the next message, or close it where there are enough."""
        if wire.is_open and len(self._idle) < self._settings.max_idle:
            wire.idle_since = asyncio.get_running_loop().time()
            self._idle.append(wire)
        elif wire.is_open:
            wire.write(b"QUIT\r\n")
            wire.close()

    async def _take(self) -> tuple[_Wire, bool]:
        now = asyncio.get_running_loop().time()
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open and now - wire.idle_since < _IDLE_S:
                return wire, False
            wire.close()
        try:
            async with asyncio.timeout(self._settings.connect_s):
                return await self._connect(), True
        except (*_TROUBLE, ssl.SSLError) as trouble:
            raise NextHopUnavailable(_DOWN, f"{self._settings.address}: {trouble!r}") from trouble

    async def _connect(self) -> _Wire:
        loop, settings = asyncio.get_running_loop(), self._settings
        host = "localhost"
        if settings.address.startswith("unix:"):
            _, wire = await loop.create_unix_connection(_Wire, settings.address.removeprefix("unix:"))
        else:
            host, _, port = settings.address.rpartition(":")
            host = host.strip("[]")
            _, wire = await loop.create_connection(_Wire, host, int(port))
        try:
            await self._greet(wire, host)
        except BaseException:
            wire.close()
            raise
        return wire

    async def _greet(self, wire: _Wire, host: str) -> None:
        settings = self._settings
        greeting = await wire.answer(settings.connect_s)
        if not greeting.is_good:
            raise ProtocolFault(f"greeting {greeting.code} {greeting.lines[0]}")
        wire.greeting = greeting.lines[0]
        await self._ehlo(wire)
        if settings.starttls:
            if "STARTTLS" not in wire.extensions:
                raise ProtocolFault("the next hop has no STARTTLS")
            wire.write(b"STARTTLS\r\n")
            answer = await wire.answer(settings.command_s)
            if not answer.is_good:
                raise ProtocolFault(f"STARTTLS {answer.code} {answer.lines[0]}")
            await wire.encrypt(host, ssl.create_default_context(), settings.connect_s)
            await self._ehlo(wire)

    async def _ehlo(self, wire: _Wire) -> None:
        wire.write(f"EHLO {self._settings.helo}\r\n".encode())
        answer = await wire.answer(self._settings.command_s)
        if answer.is_good:
            wire.extensions = extensions_of(answer)
            return
        wire.write(f"HELO {self._settings.helo}\r\n".encode())
        answer = await wire.answer(self._settings.command_s)
        if not answer.is_good:
            raise ProtocolFault(f"HELO {answer.code} {answer.lines[0]}")


class _SmtpTransaction:
    def __init__(self, hop: SmtpNextHop, wire: _Wire, mail: Reply, settings: NextHopSettings) -> None:
        self.mail = mail
        self._hop = hop
        self._wire = wire
        self._settings = settings
        self._is_over = False

    async def rcpt(self, address: str) -> Reply:
        """Name a recipient."""
        self._wire.write(rcpt_command(address))
        return (await self._answer(self._settings.command_s)).reply()

    async def data(self, raw: bytes) -> Reply:
        """Hand the message over. What fails after the final dot leaves the outcome unknown, and is never sent again."""
        self._wire.write(b"DATA\r\n")
        answer = await self._answer(self._settings.command_s)
        if answer.code == 354:
            self._wire.write(stuffed(raw))
            await self._wire.drain()
            answer = await self._answer(self._settings.data_s)
        self._is_over = True
        if answer.code == 421:
            self._wire.close()
        else:
            self._hop.give_back(self._wire)
        return answer.reply()

    async def abort(self) -> None:
        """RSET, and the connection serves the next message."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self._wire.write(b"RSET\r\n")
            answer = await self._wire.answer(self._settings.connect_s)
        except _TROUBLE:
            self._wire.close()
            return
        except BaseException:
            self._wire.close()
            raise
        if answer.is_good:
            self._hop.give_back(self._wire)
        else:
            self._wire.close()

    async def _answer(self, timeout_s: float) -> Answer:
        try:
            return await self._wire.answer(timeout_s)
        except _TROUBLE as trouble:
            self._is_over = True
            self._wire.close()
            raise NextHopUnavailable(_LOST, repr(trouble)) from trouble
        except BaseException:
            self._is_over = True
            self._wire.close()  # cancelled halfway: its next reply would answer somebody else
            raise


async def send_through(
    hop: NextHop, mail_from: str, rcpt_to: Sequence[str], parameters: tuple[str, ...], raw: bytes
) -> tuple[tuple[str, int, str], ...]:
    """A whole message in one transaction, to those recipients that are taken."""
    transaction = await hop.open(mail_from, parameters)
    if transaction.mail.code >= 400:
        await transaction.abort()
        return tuple((one, transaction.mail.code, transaction.mail.text) for one in rcpt_to)
    replies = [await transaction.rcpt(one) for one in rcpt_to]
    if all(reply.code >= 400 for reply in replies):
        await transaction.abort()
    else:
        end = await transaction.data(raw)
        replies = [reply if reply.code >= 400 else end for reply in replies]
    return tuple((one, reply.code, reply.text) for one, reply in zip(rcpt_to, replies, strict=True))
