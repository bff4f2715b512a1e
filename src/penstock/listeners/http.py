"""The HTTP listener: rspamd's port, with logins, /health and /metrics. Exim's line protocol is told by its first line.

A connection answers one request at a time. What comes meanwhile waits, and after the first piece nothing more is read,
so that pipelining fills no memory.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
import structlog
from msgspec import Struct

from penstock.listeners.http_logins import LoginPaths
from penstock.listeners.sockets import Network, Sessions, Sockets, is_in, peer_of
from penstock.model import Submission
from penstock.pipeline import Gate
from penstock.protocols import rspamd
from penstock.protocols.http1 import Bounds, HttpReader, Request, RequestError, RspamcReader, response, speaks_rspamc

log = structlog.get_logger()
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_TIDY_S = 5.0
_FAREWELL_S = 5.0
_SYSEXITS = {403: 77, 413: 65, 500: 75, 503: 75}  # HTTP status → sysexits.h, for the line protocol; else 64


class HttpSettings(Struct, frozen=True):
    """What the HTTP listener is told."""

    listen: tuple[str, ...]
    trusted_networks: tuple[Network, ...]
    """Peers whose User, IP and Queue-Id are believed, who may read /metrics and tell of logins."""
    password: str = ""
    """If set, every judgement must be asked for with it."""
    max_message_bytes: int = 52_428_800
    reuse_port: bool = False
    in_flight_bytes: int = 268_435_456
    """Bytes of messages in memory at once; beyond it, 503."""
    max_connections: int = 1000
    idle_s: float = 120.0
    """Seconds without a request before a connection is closed."""
    request_s: float = 120.0
    """Seconds in which a request must have come in whole."""


class HttpListener:
    """Listens for those who ask as they would ask rspamd."""

    def __init__(
        self,
        settings: HttpSettings,
        gate: Gate,
        *,
        metrics: Callable[[], bytes],
        health: Callable[[], Awaitable[tuple[bool, dict[str, object]]]],
        count: Callable[[str], None],
        now: Callable[[], float],
        new_id: Callable[[float], str],
    ) -> None:
        self.settings = settings
        self.count = count
        self.bounds = Bounds(max_body_bytes=settings.max_message_bytes)
        self.in_flight_bytes = 0
        self.sessions = Sessions()
        self._gate = gate
        self._metrics = metrics
        self._health = health
        self._logins = LoginPaths(gate, count=count, now=now)
        self._now = now
        self._new_id = new_id
        self._sockets = Sockets(settings.listen, lambda: _Session(self), reuse_port=settings.reuse_port)
        self.addresses = self._sockets.addresses

    async def start(self) -> None:
        """Begin to listen. Raises OSError."""
        await self._sockets.open()
        self.sessions.begin(min(_TIDY_S, self.settings.idle_s, self.settings.request_s))

    async def stop(self, grace_s: float) -> None:
        """Close what is idle, wait so long for requests under way, then break off."""
        self._sockets.close()
        await self.sessions.drain(grace_s)

    async def answer(self, request: Request, peer: str) -> tuple[int, bytes, str]:
        """Status, body and type of the answer to one request. Raises RequestError."""
        self.count("http-requests")
        match request.path:
            case "/ping":
                return 200, b"pong\r\n", _TEXT
            case "/health":
                return await self._answer_health(request, peer)
            case "/metrics":
                if not self._may_look(request, peer):
                    raise RequestError(403, "metrics are for trusted networks, or with the password")
                return 200, self._metrics(), _METRICS
            case "/login":
                self._check_may_tell(request, peer)
                return 200, await self._logins.login(request), _JSON
            case "/password-changed":
                if not self._has_password(request):
                    self.count("http-forbidden")
                    raise RequestError(403, "this lets an account in, so it needs the password (http.password)")
                return 200, await self._logins.password_changed(request, peer), _JSON
            case "/" if request.header("command"):
                self._check_may_tell(request, peer)
                return 200, await self._logins.policy(request), _JSON
            case path if path in rspamd.CHECK_PATHS:
                return await self._answer_check(request, peer)
        raise RequestError(
            404, "no such path; there is /checkv2, /check, /login, /password-changed, /ping, /health and /metrics"
        )

    async def _answer_health(self, request: Request, peer: str) -> tuple[int, bytes, str]:
        is_well, facts = await self._health()
        shown = facts if self._may_look(request, peer) else {}
        return 200 if is_well else 503, msgspec.json.encode({"ok": is_well, **shown}), _JSON

    async def _answer_check(self, request: Request, peer: str) -> tuple[int, bytes, str]:
        if self.settings.password and not self._has_password(request):
            self.count("http-forbidden")
            raise RequestError(403, "wrong password")
        if any(request.header(name).lower() not in ("", "identity") for name in ("compression", "content-encoding")):
            raise RequestError(415, "compressed messages are not read; switch compression off")
        if not request.body:
            raise RequestError(400, "no message; send it as the body (File, Path and Shm are not read)")
        began = asyncio.get_running_loop().time()
        submission = self._submission(request, peer)
        decision = await self._gate.judge(submission)
        self.count("http-messages")
        took_s = asyncio.get_running_loop().time() - began
        if request.is_rspamc:
            return 200, rspamd.rspamc(decision), _TEXT
        shape = rspamd.checkv2 if request.path == "/checkv2" else rspamd.legacy
        return 200, shape(decision, submission.raw, took_s), _JSON

    def _submission(self, request: Request, peer: str) -> Submission:
        is_trusted = is_in(peer, self.settings.trusted_networks)
        query = rspamd.read_query(request.headers, peer_ip=peer, is_trusted=is_trusted)
        now = self._now()
        return Submission(
            id=self._new_id(now),
            received_at=now,
            connection=query.connection,
            envelope=query.envelope,
            raw=rspamd.message_of(request.body),
            queue_id=query.queue_id,
        )

    def _has_password(self, request: Request) -> bool:
        given, wanted = request.header("password").encode(), self.settings.password.encode()
        return bool(wanted) and hmac.compare_digest(given, wanted)

    def _check_may_tell(self, request: Request, peer: str) -> None:
        if not self._may_look(request, peer):
            self.count("http-forbidden")
            raise RequestError(403, "logins are told by trusted networks, or with the password")

    def _may_look(self, request: Request, peer: str) -> bool:
        return is_in(peer, self.settings.trusted_networks) or self._has_password(request)


class _Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._begin = bytearray()
        self._reader: HttpReader | RspamcReader | None = None
        self._held_bytes = 0
        self._is_answering = False
        self._is_paused = False
        self._is_at_eof = False
        self._is_blocked = False
        self._ahead = b""
        self._is_leaving = False
        self._since = 0.0
        self._is_under_way = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in unless there are too many."""
        transport = cast(asyncio.Transport, transport)  # uvloop has no subclasses of asyncio's
        listener = self._listener
        if len(listener.sessions) >= listener.settings.max_connections or listener.sessions.is_stopping:
            listener.count("http-connections-refused")
            transport.abort()
            return
        listener.count("http-connections")
        self._transport, self._peer = transport, peer_of(transport)
        self._since = asyncio.get_running_loop().time()
        listener.sessions.add(self)

    def data_received(self, data: bytes) -> None:
        """Read up to the next whole request."""
        if self._transport is None or self._is_leaving:
            return
        if self._is_answering:
            self._ahead += data
            self._pause()
            return
        if not self._is_under_way:
            self._is_under_way, self._since = True, asyncio.get_running_loop().time()
        try:
            self._receive(data)
        except RequestError as trouble:
            self._listener.count("http-errors")
            self._refuse(trouble)
            return
        self._go_on()

    def _pause(self) -> None:
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _receive(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            self._begin += data
            is_rspamc = speaks_rspamc(self._begin)
            if is_rspamc is None:
                return
            kind = RspamcReader if is_rspamc else HttpReader
            reader = self._reader = kind(self._listener.bounds)
            data, self._begin = bytes(self._begin), bytearray()
        reader.receive(data)
        self._hold(reader.size_bytes)
        if self._listener.in_flight_bytes > self._listener.settings.in_flight_bytes:
            raise RequestError(503, "too many messages at once")
        if reader.expects_continue:
            reader.expects_continue = False
            if self._transport is not None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _hold(self, size_bytes: int) -> None:
        self._listener.in_flight_bytes += size_bytes - self._held_bytes
        self._held_bytes = size_bytes

    def _go_on(self) -> None:
        if self._is_answering or self._is_blocked or self._reader is None or self._transport is None:
            return
        request = self._reader.next_request()
        if request is None:
            self._is_under_way = self._reader.is_under_way
            return
        self._is_answering = True
        self._hold(len(request.body) + self._reader.size_bytes)
        self._listener.sessions.run(self._answer(request), self._answered)

    async def _answer(self, request: Request) -> None:
        try:
            status, body, content_type = await self._listener.answer(request, self._peer)
        except RequestError as trouble:
            self._send(trouble.status, _error_body(trouble, request.is_rspamc), _JSON, request)
        except Exception as trouble:
            self._listener.count("http-failures")
            log.error("not-done", where="http", trouble=repr(trouble), exc_info=trouble)
            fault = RequestError(500, "local trouble, try again later")
            self._send(fault.status, _error_body(fault, request.is_rspamc), _JSON, request)
        else:
            self._send(status, body, content_type, request)

    def _send(self, status: int, body: bytes, content_type: str, request: Request) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        keep_alive = request.keep_alive and not (self._listener.sessions.is_stopping or self._is_at_eof)
        transport.write(body if request.is_rspamc else response(status, body, content_type, keep_alive=keep_alive))
        if not keep_alive:
            transport.close()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._is_answering = self._is_under_way = False
        self._hold(self._reader.size_bytes if self._reader is not None and self._transport is not None else 0)
        self._since = asyncio.get_running_loop().time()
        if not self._is_blocked:
            self._read_on()

    def _read_on(self) -> None:
        if not self._is_answering and self._transport is not None and not self._transport.is_closing():
            self._go_on()
            if self._ahead and not self._is_answering:
                data, self._ahead = self._ahead, b""
                self.data_received(data)
            if self._is_paused and not self._ahead:
                self._is_paused = False
                self._transport.resume_reading()

    def _refuse(self, trouble: RequestError) -> None:
        """Say what is wrong, then read on for a moment without looking: a reset would swallow the answer."""
        transport = self._transport
        assert transport is not None
        is_rspamc = self._reader is not None and self._reader.is_rspamc
        body = _error_body(trouble, is_rspamc)
        transport.write(body if is_rspamc else response(trouble.status, body, _JSON))
        self._is_leaving, self._reader = True, None
        self._hold(0)
        self._since = asyncio.get_running_loop().time()
        transport.write_eof()

    def pause_writing(self) -> None:
        """Answer nothing more to a peer that does not read."""
        self._is_blocked = True
        self._pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_blocked = False
        self._read_on()

    def eof_received(self) -> bool:
        """The peer sends no more, but may still wait for its answer."""
        self._is_at_eof = True
        return self._is_answering

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a message that is being judged is judged to its end."""
        self._transport = None
        if not self._is_answering:
            self._hold(0)
        self._listener.sessions.discard(self)

    def leave(self) -> None:
        """Close now where no request is under way."""
        if self._transport is not None and not self._is_answering and not self._is_under_way:
            self._transport.close()

    def abort(self) -> None:
        """Break off."""
        if self._transport is not None:
            self._transport.abort()

    def is_overdue(self, now: float) -> bool:
        """Whether a request, or the wait for one, has lasted too long."""
        if self._is_answering:
            return False
        settings = self._listener.settings
        patience_s = settings.request_s if self._is_under_way else settings.idle_s
        is_late = now - self._since > (_FAREWELL_S if self._is_leaving else patience_s)
        if is_late and not self._is_leaving:
            self._listener.count("http-idle-closed")
        return is_late


def _error_body(trouble: RequestError, is_rspamc: bool) -> bytes:
    if is_rspamc:
        return rspamd.rspamc_error(_SYSEXITS.get(trouble.status, 64), str(trouble))
    return rspamd.error(str(trouble))
