"""The MTA that delivers: transactions in step with our client's, over connections that are used again."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Protocol

from msgspec import Struct

from penstock.clients.smtp_wire import TROUBLE, Wire
from penstock.model import Reply
from penstock.protocols.smtp_client import (
    Answer,
    ProtocolFault,
    extensions_of,
    mail_command,
    needs_utf8,
    rcpt_command,
    stuffed,
)

_DOWN = Reply(451, "4.4.1", "The next hop does not answer; try again later")
_LOST = Reply(451, "4.4.2", "The connection to the next hop was lost; try again later")
_NO_UTF8 = Reply(550, "5.6.7", "The next hop takes no addresses outside ASCII")
_IDLE_S = 60.0
"""Postfix closes a silent client after 300 s, under stress after 10 s; a stale connection is noticed and replaced."""
_SMALL_BYTES = 262_144
"""Messages up to here go out in one piece as soon as the next hop says 354."""


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

    async def open(self, mail_from: str, parameters: tuple[str, ...], rcpt_to: Sequence[str] = ()) -> Transaction:
        """Begin a transaction. Raises NextHopUnavailable.

        `rcpt_to` are the recipients that will be named first, in this order, where they are known already: they go
        along with MAIL to a server that has PIPELINING. Each is still to be named by `rcpt`.
        """

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


class SmtpNextHop:
    """The next hop over SMTP."""

    def __init__(self, settings: NextHopSettings) -> None:
        self._settings = settings
        self._idle: list[Wire] = []

    async def open(self, mail_from: str, parameters: tuple[str, ...], rcpt_to: Sequence[str] = ()) -> Transaction:
        """Begin a transaction; a connection that turns out to be stale is replaced."""
        while True:
            wire, is_fresh = await self._take()
            if needs_utf8(mail_from) and "SMTPUTF8" not in wire.extensions:
                return _SmtpTransaction(self, wire, _NO_UTF8, (), self._settings)
            ahead = tuple(rcpt_to) if "PIPELINING" in wire.extensions else ()
            commands = [mail_command(mail_from, parameters, wire.extensions), *map(rcpt_command, ahead)]
            try:
                wire.write(b"".join(commands))
                answer = await wire.answer(self._settings.command_s)
                if 300 <= answer.code < 400:
                    raise ProtocolFault(f"{answer.code} to MAIL")
            except TROUBLE as trouble:
                wire.abort()
                if is_fresh:
                    raise NextHopUnavailable(_DOWN, repr(trouble)) from trouble
                continue
            except BaseException:
                wire.abort()
                raise
            if answer.code == 421 and not is_fresh:
                wire.abort()
                continue
            return _SmtpTransaction(self, wire, _passed_on(answer), ahead, self._settings)

    async def send(
        self, mail_from: str, rcpt_to: Sequence[str], parameters: tuple[str, ...], raw: bytes
    ) -> tuple[tuple[str, int, str], ...]:
        """A whole message at once."""
        return await send_through(self, mail_from, rcpt_to, parameters, raw)

    async def check(self) -> str:
        """The server's greeting, over a connection of its own."""
        wire = await self._fresh()
        wire.quit()
        return wire.greeting

    async def close(self) -> None:
        """Let idle connections go."""
        for wire in self._idle:
            wire.quit()
        self._idle.clear()

    def give_back(self, wire: Wire) -> None:
        """Keep a connection for the next message, or close it where there are enough."""
        if wire.is_clean and len(self._idle) < self._settings.max_idle:
            wire.idle_since = asyncio.get_running_loop().time()
            self._idle.append(wire)
        else:
            wire.quit()

    async def _take(self) -> tuple[Wire, bool]:
        now = asyncio.get_running_loop().time()
        while self._idle:
            wire = self._idle.pop()
            if wire.is_clean and now - wire.idle_since < _IDLE_S:
                return wire, False
            wire.quit()
        return await self._fresh(), True

    async def _fresh(self) -> Wire:
        try:
            async with asyncio.timeout(self._settings.connect_s):
                return await self._connect()
        except TROUBLE as trouble:
            raise NextHopUnavailable(_DOWN, f"{self._settings.address}: {trouble!r}") from trouble

    async def _connect(self) -> Wire:
        loop, settings = asyncio.get_running_loop(), self._settings
        host = "localhost"
        if settings.address.startswith("unix:"):
            _, wire = await loop.create_unix_connection(Wire, settings.address.removeprefix("unix:"))
        else:
            host, _, port = settings.address.rpartition(":")
            host = host.strip("[]")
            _, wire = await loop.create_connection(Wire, host, int(port))
        try:
            await self._greet(wire, host)
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _greet(self, wire: Wire, host: str) -> None:
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
            await wire.encrypt(host, _verifying(), settings.connect_s)
            await self._ehlo(wire)

    async def _ehlo(self, wire: Wire) -> None:
        for verb in ("EHLO", "HELO"):
            wire.write(f"{verb} {self._settings.helo}\r\n".encode())
            answer = await wire.answer(self._settings.command_s)
            if answer.is_good:
                wire.extensions = extensions_of(answer)
                return
        raise ProtocolFault(f"HELO {answer.code} {answer.lines[0]}")


@cache
def _verifying() -> ssl.SSLContext:
    """Certificates are checked against the system's authorities, read once."""
    return ssl.create_default_context()


def _passed_on(answer: Answer) -> Reply:
    """A reply as our client may hear it: 421 speaks of a connection that is not the client's."""
    reply = answer.reply()
    return Reply(451, "4.3.2", reply.text) if reply.code == 421 else reply


class _SmtpTransaction:
    def __init__(
        self, hop: SmtpNextHop, wire: Wire, mail: Reply, ahead: Sequence[str], settings: NextHopSettings
    ) -> None:
        self.mail = mail
        self._hop = hop
        self._wire = wire
        self._ahead = deque(ahead)
        self._settings = settings
        self._is_over = False

    async def rcpt(self, address: str) -> Reply:
        """Name a recipient."""
        if self._ahead:
            expected = self._ahead.popleft()
            assert address == expected, "recipients are named in the order that was announced"
        else:
            self._wire.write(rcpt_command(address))
        return _passed_on(await self._answer(self._settings.command_s))

    async def data(self, raw: bytes) -> Reply:
        """Hand the message over. What fails after the final dot leaves the outcome unknown, and is never sent again."""
        assert not self._ahead, "every recipient that was announced is named"
        self._wire.write(b"DATA\r\n")
        if len(raw) <= _SMALL_BYTES:
            self._wire.follow(b"".join(stuffed(raw)), self._settings.data_s)
            answer = await self._answer(self._settings.command_s)
        else:
            answer = await self._answer(self._settings.command_s, good=354)
            if answer.code == 354:
                await self._send(raw)
                answer = await self._answer(self._settings.data_s)
        self._is_over = True
        if answer.code == 421:
            self._wire.quit()
        else:
            self._hop.give_back(self._wire)
        return _passed_on(answer)

    async def abort(self) -> None:
        """RSET, and the connection serves the next message."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self._wire.write(b"RSET\r\n")
            for _ in range(len(self._ahead) + 1):
                answer = await self._wire.answer(self._settings.connect_s)
        except TROUBLE:
            self._wire.abort()
            return
        except BaseException:
            self._wire.abort()
            raise
        if answer.is_good:
            self._hop.give_back(self._wire)
        else:
            self._wire.quit()

    async def _send(self, raw: bytes) -> None:
        for block in stuffed(raw):
            self._wire.write(block)
            if len(raw) > len(block) and not await self._wire.drain(self._settings.data_s):
                break  # the reply, or its lack, says why

    async def _answer(self, timeout_s: float, good: int = 250) -> Answer:
        """The next reply: an error, or what stands for good here (a 2xx, or 354). Raises NextHopUnavailable."""
        try:
            answer = await self._wire.answer(timeout_s)
            if answer.is_good and answer.code // 100 != good // 100:
                raise ProtocolFault(f"{answer.code} is no answer to this")
        except TROUBLE as trouble:
            self._is_over = True
            self._wire.abort()
            raise NextHopUnavailable(_LOST, repr(trouble)) from trouble
        except BaseException:
            self._is_over = True
            self._wire.abort()  # cancelled halfway: its next reply would answer somebody else
            raise
        return answer


async def send_through(
    hop: NextHop, mail_from: str, rcpt_to: Sequence[str], parameters: tuple[str, ...], raw: bytes
) -> tuple[tuple[str, int, str], ...]:
    """A whole message in one transaction, to those recipients that are taken."""
    transaction = await hop.open(mail_from, parameters, rcpt_to)
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
