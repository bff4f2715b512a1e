"""The header block of a message on its way out: fields removed, fields put on top, our own Received line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

_UNSAFE = re.compile(r"[^!-~]")


def rewrite(raw: bytes, add: Sequence[tuple[str, str]], remove: Sequence[str], received: bytes = b"") -> bytes:
    """A message without any field named in `remove` (folded lines with it), `received` and then `add` on top.

    Only the header block is looked at; it ends at the first empty line. The bytes of what is kept are not touched.
    `raw` has CRLF line ends; `remove` is lower case.
    """
    top = received + b"".join([f"{name}: {one_line(value)}\r\n".encode("utf-8", "replace") for name, value in add])
    if not remove:
        return top + raw
    view, at = memoryview(raw), 0
    pieces: list[bytes | memoryview] = [top]
    for start, end in _fields(raw, _pattern(tuple(remove))):
        pieces.append(view[at:start])
        at = end
    pieces.append(view[at:])
    return b"".join(pieces)


@lru_cache(maxsize=256)
def _pattern(names: tuple[str, ...]) -> re.Pattern[bytes]:
    choices = b"|".join(re.escape(name.encode("utf-8", "replace")) for name in names)
    return re.compile(rb"^(?:" + choices + rb")[ \t]*:", re.IGNORECASE | re.MULTILINE)


def _fields(raw: bytes, pattern: re.Pattern[bytes]) -> list[tuple[int, int]]:
    """Where the named fields begin and end, in order."""
    end = raw.find(b"\r\n\r\n")
    end = len(raw) if end < 0 else end + 2
    if raw.startswith(b"\r\n"):
        return []
    spans: list[tuple[int, int]] = []
    for found in pattern.finditer(raw, 0, end):
        stop = found.start()
        while True:
            line_end = raw.find(b"\r\n", stop, end)
            stop = end if line_end < 0 else line_end + 2
            if line_end < 0 or raw[stop : stop + 1] not in (b" ", b"\t"):
                break
        spans.append((found.start(), stop))
    return spans


def one_line(value: str) -> str:
    """A header value without line ends or control characters, whatever somebody put into it."""
    return "".join(sign for sign in value if sign >= " " and sign != "\x7f")


def received_line(
    *, helo: str, client_name: str, client_ip: str, by: str, protocol: str, id: str, at: float, is_hidden: bool = False
) -> bytes:
    """Our trace field (RFC 5321 section 4.4). `protocol` is ESMTP, ESMTPS, ESMTPA or ESMTPSA (RFC 3848).

    `is_hidden` leaves out where an authenticated client sat: receivers need not know a customer's home.
    """
    if is_hidden:
        source = f"by {by}"
    else:
        tag = "IPv6:" if ":" in client_ip else ""
        where = f"{_safe(client_name) or 'unknown'} [{tag}{_safe(client_ip)}]"
        source = f"from {_safe(helo) or 'unknown'} ({where})\r\n\tby {by}"
    return f"Received: {source} (Penstock) with {protocol} id {id};\r\n\t{_date(int(at))}\r\n".encode(
        "ascii", "replace"
    )


@lru_cache(maxsize=16)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _safe(text: str) -> str:
    return _UNSAFE.sub("?", text)[:255].replace("(", "?").replace(")", "?")
