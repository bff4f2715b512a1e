"""The client's side of SMTP (RFC 5321), without I/O: commands as bytes, replies out of bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from penstock.model import Reply

_MOST_BYTES = 65_536  # of one reply; RFC 5321 4.5.3.1.5 has lines of 512, and nobody sends many
_ENHANCED = re.compile(r"^([245]\.\d{1,3}\.\d{1,3})(?: |$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUEUED = re.compile(r"\bqueued as ([\w.-]{4,64})|\bid=([\w-]{10,64})|^([\w.-]{4,64}) Message accepted for delivery")
_LINE = re.compile(rb"^(\d{3})(?:([ -])(.*))?$", re.DOTALL)


class ProtocolFault(Exception):
    """The server does not speak SMTP as we know it."""


class Answer(Struct, frozen=True):
    """A server's reply."""

    code: int
    lines: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """2xx or 3xx."""
        return self.code < 400

    def reply(self) -> Reply:
        """The reply as one line, for the client that waits for it."""
        found = _ENHANCED.match(self.lines[0])
        enhanced = found[1] if found else ""
        if len(self.lines) == 1:
            text = self.lines[0][found.end() :] if found else self.lines[0]
            return Reply(self.code, enhanced, _printable(text[:400]))
        texts = [line.removeprefix(enhanced).strip() for line in self.lines]
        return Reply(self.code, enhanced, _printable(" ".join([text for text in texts if text])[:400]))


def _printable(text: str) -> str:
    return text if text.isprintable() else _CONTROL.sub("?", text)


class AnswerReader:
    """Takes bytes of a server, gives whole replies (RFC 5321 section 4.2)."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._lines: list[str] = []
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether no reply has begun."""
        return not (self._input or self._lines)

    def feed(self, data: bytes) -> list[Answer]:
        """Take bytes; the replies that are complete now. Raises ProtocolFault."""
        self._input += data
        found: list[Answer] = []
        while (end := self._input.find(b"\n")) >= 0:
            line = bytes(self._input[:end]).rstrip(b"\r")
            del self._input[: end + 1]
            answer = self._take(line)
            if answer is not None:
                found.append(answer)
        if len(self._input) > _MOST_BYTES:
            raise ProtocolFault("a reply without end")
        return found

    def _take(self, line: bytes) -> Answer | None:
        match = _LINE.match(line)
        if match is None or not b"2" <= match[1][:1] <= b"5":
            raise ProtocolFault(f"no SMTP reply: {line[:60]!r}")
        self._size += len(line)
        if self._size > _MOST_BYTES:
            raise ProtocolFault("a reply without end")
        self._lines.append((match[3] or b"").decode("utf-8", "replace"))
        if match[2] == b"-":
            return None
        answer = Answer(int(match[1]), tuple(self._lines))
        self._lines, self._size = [], 0
        return answer


def extensions_of(answer: Answer) -> dict[str, str]:
    """What EHLO announced: keyword in upper case → parameters."""
    found = {}
    for line in answer.lines[1:]:
        keyword, _, parameters = line.partition(" ")
        found[keyword.upper()] = parameters
    return found


def mail_command(mail_from: str, parameters: tuple[str, ...], extensions: dict[str, str]) -> bytes:
    """MAIL with those parameters that the server announced. Raises ValueError for what is no address."""
    kept = []
    for one in parameters:
        keyword = one.partition("=")[0].upper()
        name = {"BODY": "8BITMIME"}.get(keyword, keyword)
        if name in extensions:
            kept.append(" " + one)
    return f"MAIL FROM:<{_checked(mail_from)}>{_checked(''.join(kept))}\r\n".encode()


def rcpt_command(address: str) -> bytes:
    """RCPT. Raises ValueError for what is no address."""
    return f"RCPT TO:<{_checked(address)}>\r\n".encode()


def queue_id_of(reply: Reply) -> str:
    """What the server calls a message that it took: in the words of Postfix, Exim or Sendmail; else empty."""
    found = _QUEUED.search(reply.text) if reply.code < 300 else None
    return next(filter(None, found.groups()), "") if found else ""


def needs_utf8(address: str) -> bool:
    """Whether an address can only be sent to a server that has SMTPUTF8 (RFC 6531)."""
    return not address.isascii()


def _checked(text: str) -> str:
    """No listener of ours lets a line end into an address; nothing that slips through becomes a command."""
    if _CONTROL.search(text):
        raise ValueError(f"control characters in {text!r}")
    return text


def stuffed(raw: bytes, block_bytes: int = 262_144) -> Iterator[bytes]:
    """A message as it goes over the wire, in blocks: dot-stuffed, with its end (RFC 5321 section 4.5.2)."""
    at, is_line_start = 0, True
    while at < len(raw):
        end = at + block_bytes
        end += raw[end - 1 : end] == b"\r"  # a line end stays in one piece
        block = raw[at:end]
        text = block.replace(b"\r\n.", b"\r\n..")
        if is_line_start and block.startswith(b"."):
            text = b"." + text
        at, is_line_start = end, block.endswith(b"\r\n")
        yield text + _end_of(is_line_start) if at >= len(raw) else text
    if not raw:
        yield _end_of(True)


def _end_of(is_line_start: bool) -> bytes:
    return b".\r\n" if is_line_start else b"\r\n.\r\n"
