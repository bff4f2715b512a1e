"""HTTP/1.1 requests in, responses out, and the RSPAMC line protocol that Exim speaks on the same port.

Both readers take bytes and give whole `Request`s; neither does I/O. llhttp (by httptools) parses HTTP strictly. Bodies
are bounded, and so are heads, which llhttp itself does not bound.
"""

from __future__ import annotations

import re
from collections import deque
from urllib.parse import parse_qsl

import httptools
from msgspec import Struct

_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    411: "Length Required", 413: "Content Too Large", 415: "Unsupported Media Type",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_RSPAMC = re.compile(rb"([A-Z]{1,20}) RSPAMC/1\.\d{1,3}[ \t]*\Z")
_MOST_FIELDS = 25_000  # a message may have very many recipients, each in a header of its own


class Bounds(Struct, frozen=True):
    """What one request may cost."""

    max_body_bytes: int = 52_428_800
    max_head_bytes: int = 2_097_152
    """Of request line and headers; room for some ten thousand recipients."""


class Request(Struct, frozen=True):
    """One whole request; a line protocol's looks the same."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    """(lower-case name, value) in order; parameters of the query are among them, as rspamd has it."""
    body: bytes
    keep_alive: bool = False
    is_rspamc: bool = False

    def header(self, name: str) -> str:
        """The first header of that lower-case name; empty where there is none."""
        return next((value for key, value in self.headers if key == name), "")


class RequestError(Exception):
    """A request that cannot be served; the connection is of no further use."""

    def __init__(self, status: int, trouble: str) -> None:
        super().__init__(trouble)
        self.status = status


class HttpReader:
    """Requests of one HTTP/1.x connection."""

    is_rspamc = False

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()
        self._trouble: RequestError | None = None
        self._piece_bytes = 0
        self.expects_continue = False
        """Whether the client waits for `100 Continue`; the shell sends that and clears it."""
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._fields: list[tuple[str, str]] = []
        self._body = bytearray()
        self._fed_bytes = 0
        self._is_in_body = False
        self.is_under_way = False

    @property
    def size_bytes(self) -> int:
        """Bytes of the requests that wait, and of the one that is coming in."""
        return len(self._body) + sum(len(one.body) for one in self._requests)

    def receive(self, data: bytes) -> None:
        """Take bytes. Raises RequestError."""
        self._piece_bytes = len(data)
        self._fed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as trouble:
            raise self._trouble or RequestError(400, "not HTTP") from trouble
        except httptools.HttpParserUpgrade as trouble:
            raise RequestError(400, "no other protocol is spoken here") from trouble
        except httptools.HttpParserError as trouble:
            raise RequestError(400, f"not HTTP: {trouble}"[:200]) from trouble
        # Headers, trailers and the frames of chunks; llhttp itself bounds none of them.
        if self.is_under_way and self._fed_bytes > self._bounds.max_head_bytes + 2 * len(self._body):
            raise RequestError(431, "the headers are too large")

    def next_request(self) -> Request | None:
        """The next whole request."""
        return self._requests.popleft() if self._requests else None

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A request line begins."""
        self._begin()
        self._fed_bytes = self._piece_bytes
        self.is_under_way = True

    def on_url(self, url: bytes) -> None:
        """The request target, perhaps in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; trailers are nobody's business."""
        if self._is_in_body:
            return
        if len(self._fields) >= _MOST_FIELDS:
            self._fail(431, "too many headers")
        self._fields.append((name.decode("latin-1").lower(), value.decode("utf-8", "replace").strip()))

    def on_headers_complete(self) -> None:
        """The body may begin."""
        self._is_in_body = True
        for name, value in self._fields:
            if name == "content-length" and value.isdecimal() and int(value) > self._bounds.max_body_bytes:
                self._fail(413, f"more than {self._bounds.max_body_bytes} bytes")
            if name == "expect" and value.lower() == "100-continue":
                self.expects_continue = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body, chunked or not."""
        if len(self._body) + len(data) > self._bounds.max_body_bytes:
            self._fail(413, f"more than {self._bounds.max_body_bytes} bytes")
        self._body += data

    def on_message_complete(self) -> None:
        """The request is whole."""
        path, _, query = self._url.decode("latin-1").partition("?")
        if query:
            try:
                more = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
            except ValueError:
                self._fail(400, "too many parameters")
            self._fields += [(name.lower(), value) for name, value in more]
        method = self._parser.get_method().decode("latin-1")
        keep_alive = bool(self._parser.should_keep_alive())
        self._requests.append(Request(method, path, tuple(self._fields), bytes(self._body), keep_alive))
        self._begin()

    def _fail(self, status: int, trouble: str) -> None:
        self._trouble = RequestError(status, trouble)
        raise self._trouble


class RspamcReader:
    """The one request of a connection in the line protocol: `CHECK RSPAMC/1.3`, headers, an empty line, the message.

    The client does not shut down its writing side, so the message ends where `Content-length` says.
    """

    is_rspamc = True
    expects_continue = False

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._input = bytearray()
        self._head: tuple[str, tuple[tuple[str, str], ...], int] | None = None
        self._is_done = False
        self.is_under_way = True

    @property
    def size_bytes(self) -> int:
        """Bytes of the request that is coming in."""
        return len(self._input)

    def receive(self, data: bytes) -> None:
        """Take bytes; what follows the request is dropped. Raises RequestError."""
        if self._is_done:
            return
        before = len(self._input)
        self._input += data
        if self._head is None:
            self._read_head(max(0, before - 3))
        if self._head is not None:
            del self._input[self._head[2] :]

    def _read_head(self, start: int) -> None:
        end = self._input.find(b"\r\n\r\n", start)
        if end > self._bounds.max_head_bytes or (end < 0 and len(self._input) > self._bounds.max_head_bytes):
            raise RequestError(431, "the headers are too large")
        if end < 0:
            return
        first, *lines = bytes(self._input[:end]).split(b"\r\n")
        command = _RSPAMC.match(first)
        if command is None:
            raise RequestError(400, "not RSPAMC")
        if len(lines) > _MOST_FIELDS:
            raise RequestError(431, "too many headers")
        pairs = [line.decode("utf-8", "replace").partition(":") for line in lines]
        fields = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
        length = next((value for name, value in fields if name == "content-length"), "")
        if not (length.isascii() and length.isdecimal() and len(length) < 16):
            raise RequestError(411, "no Content-length")
        if int(length) > self._bounds.max_body_bytes:
            raise RequestError(413, f"more than {self._bounds.max_body_bytes} bytes")
        self._head = command[1].decode(), fields, int(length)
        del self._input[: end + 4]

    def next_request(self) -> Request | None:
        """The request, once, when it is whole."""
        if self._is_done or self._head is None or len(self._input) < self._head[2]:
            return None
        self._is_done, self.is_under_way = True, False
        command, fields, _ = self._head
        body, self._input = bytes(self._input), bytearray()
        return Request(command, "/ping" if command == "PING" else "/check", fields, body, is_rspamc=True)


def speaks_rspamc(begin: bytes | bytearray) -> bool | None:
    """Whether a connection that begins so speaks the line protocol; None where more must come to tell."""
    line, newline, _ = begin[:64].partition(b"\n")
    if newline:
        return _RSPAMC.match(bytes(line).rstrip(b"\r")) is not None
    return None if len(begin) < 64 else False


def response(status: int, body: bytes, content_type: str, *, keep_alive: bool = False) -> bytes:
    """A whole response."""
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nServer: penstock\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    return head.encode() + body
