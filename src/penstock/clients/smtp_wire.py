"""One connection to the next hop: bytes out, replies in, in order."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast

from penstock.protocols.smtp_client import Answer, AnswerReader, ProtocolFault

TROUBLE = (OSError, ProtocolFault, TimeoutError)
"""What a connection may raise; errors of TLS are OSErrors."""
_MOST_ANSWERS = 4096
"""Replies that nobody has asked for yet; a server that sends more is out of its mind."""


class Wire(asyncio.Protocol):
    """A connection; one reader at a time."""

    def __init__(self) -> None:
        self.extensions: dict[str, str] = {}
        self.greeting = ""
        self.is_open = False
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._reader = AnswerReader()
        self._answers: deque[Answer] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self._transport: asyncio.Transport | None = None
        self._is_blocked: asyncio.Future[None] | None = None
        self._following: tuple[bytes, float] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_clean(self) -> bool:
        """Whether it is open and nothing has come unasked, so that the next reply answers the next command."""
        return self.is_open and not self._answers and self._reader.is_empty

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Wake whoever waits for a reply."""
        try:
            self._answers += self._reader.feed(data)
            if len(self._answers) > _MOST_ANSWERS:
                raise ProtocolFault("replies without end")
            self._follow()
        except ProtocolFault as fault:
            self._answers.clear()  # nothing that it said counts
            self._fail(fault)
            self.abort()
            return
        if self._answers:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits hears of it."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._fail(exc or ConnectionResetError("the next hop closed the connection"))

    def pause_writing(self) -> None:
        """The server does not take as fast as we send."""
        self._is_blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        """It takes again."""
        if self._is_blocked is not None and not self._is_blocked.done():
            self._is_blocked.set_result(None)
        self._is_blocked = None

    def _fail(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self._wake()
        self.resume_writing()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def write(self, data: bytes) -> None:
        """Send; what cannot be sent now waits in the transport."""
        assert self._transport is not None
        self._transport.write(data)

    async def drain(self, timeout_s: float) -> bool:
        """Let others go on, and wait until the server takes more; False where it will not."""
        if self._is_blocked is None:
            await asyncio.sleep(0)
        else:
            await asyncio.wait((self._is_blocked,), timeout=timeout_s)
        return self._is_blocked is None and self._fault is None

    def follow(self, data: bytes, timeout_s: float) -> None:
        """Send this when 354 comes, which is then no answer any more; whatever stands in its place is.

        From then on the next answer may take so long.
        """
        self._following = data, timeout_s
        self.data_received(b"")  # what has come unasked

    def _follow(self) -> None:
        if self._following is None or not self._answers:
            return
        (data, timeout_s), self._following = self._following, None
        first = self._answers[0]
        if first.code == 354:
            self._answers.popleft()
            self.write(data)
            self._deadline = self._loop.time() + timeout_s
        elif first.is_good:
            raise ProtocolFault(f"{first.code} is no answer to DATA")

    async def answer(self, timeout_s: float) -> Answer:
        """The next reply. Raises what is in TROUBLE."""
        if not self._answers:
            if self._fault is not None:
                raise self._fault
            self._wait_until(self._loop.time() + timeout_s)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            if not self._answers:
                raise self._fault or TimeoutError(f"no reply within {timeout_s:g} s")
        return self._answers.popleft()

    def _wait_until(self, deadline: float) -> None:
        """One timer serves many answers: it looks at the deadline of the day when its time comes."""
        self._deadline = deadline
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._is_late)

    def _is_late(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._is_late)
        else:
            self._wake()

    async def encrypt(self, host: str, context: ssl.SSLContext, timeout_s: float) -> None:
        """The handshake after STARTTLS. Raises what is in TROUBLE."""
        if not self.is_clean:
            raise ProtocolFault("something was said in the clear behind the answer to STARTTLS")
        assert self._transport is not None
        self._transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=host, ssl_handshake_timeout=timeout_s
        )
        if self._transport is None:
            raise ConnectionResetError("the next hop left during the handshake")

    def quit(self) -> None:
        """Say goodbye and do not wait for the answer."""
        if self.is_open:
            self.write(b"QUIT\r\n")
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Break off; what was not sent yet stays unsent."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
