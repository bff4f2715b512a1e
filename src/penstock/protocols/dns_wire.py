"""DNS messages (RFC 1035), as much as a stub resolver needs: one question out, its answers in.

Not a library for DNS: no server side, no EDNS, no DNSSEC. It exists because a range times sixty lists is tens of
thousands of questions, and a general library spends most of the time on what is not asked for here. A test holds it
against dnspython.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum

from msgspec import Struct

from penstock.protocols.dnsbl import Rcode, Reply


class Kind(IntEnum):
    """What is asked for."""

    A = 1
    NS = 2
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28


_CNAME, _SOA = 5, 6
_MOST_HOPS = 64
_MOST_TTL_S = 86400
_RCODES = {0: Rcode.NOERROR, 2: Rcode.SERVFAIL, 3: Rcode.NXDOMAIN, 5: Rcode.REFUSED}


class BadMessage(ValueError):
    """These bytes are no answer to a question of ours."""


class Heard(Struct, frozen=True):
    """A message that answers a question."""

    reply: Reply
    is_cut: bool
    """Whether it did not fit into a datagram, so that TCP must be asked."""


def labels(name: str) -> bytes:
    """A name's labels, without the root. Raises ValueError for a name that DNS cannot carry."""
    parts = bytearray()
    for label in name.rstrip(".").split("."):
        raw = label.encode() if label.isascii() else b""
        if not 0 < len(raw) < 64:
            raise ValueError(f'"{name}" is no name that DNS can carry')
        parts.append(len(raw))
        parts += raw
    if len(parts) > 254:
        raise ValueError(f'"{name}" is no name that DNS can carry')
    return bytes(parts)


def question(name: str, kind: Kind) -> bytes:
    """The question section. Raises ValueError for a name that DNS cannot carry."""
    return labels(name) + ending(kind)


def ending(kind: Kind) -> bytes:
    """What follows the labels of a question: the root, the type, the class."""
    return b"\0" + kind.to_bytes(2, "big") + b"\0\1"


def query(id: int, asked: bytes) -> bytes:
    """A whole message with one question."""
    return id.to_bytes(2, "big") + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + asked


def hear(message: bytes, asked: bytes) -> Heard:
    """What a message answers to a question. Raises BadMessage where it answers another, or is broken."""
    try:
        return _hear(message, asked)
    except (IndexError, ValueError) as trouble:
        raise BadMessage(str(trouble) or "cut short") from None


def _hear(message: bytes, asked: bytes) -> Heard:
    end = 12 + len(asked)
    if len(message) < end or not message[2] & 0x80 or message[4:6] != b"\0\1":
        raise BadMessage("no answer to one question")
    if message[12:end] != asked and message[12:end].lower() != asked.lower():
        raise BadMessage("it answers another question")
    is_cut = bool(message[2] & 0x02)
    rcode = _RCODES.get(message[3] & 0x0F, Rcode.OTHER)
    answers, authorities = int.from_bytes(message[6:8], "big"), int.from_bytes(message[8:10], "big")
    if is_cut or rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return Heard(Reply(rcode), is_cut)
    wanted = int.from_bytes(asked[-4:-2], "big")
    values, ttl, at = list[str](), _MOST_TTL_S, end
    for _ in range(answers):
        kind, lives, start, at = _record(message, at)
        if kind in (wanted, _CNAME):
            ttl = min(ttl, lives)
        if kind == wanted:
            values.append(_value(message, kind, start, at))
    if values:
        return Heard(Reply(rcode, tuple(values), ttl), False)
    return Heard(Reply(rcode, (), min(ttl, _negative_ttl(message, at, authorities))), False)


def _negative_ttl(message: bytes, at: int, authorities: int) -> int:
    """How long "no" may be kept: the lesser of the SOA's own TTL and its last field (RFC 2308 5)."""
    for _ in range(authorities):
        kind, lives, _, at = _record(message, at)
        if kind == _SOA:
            return min(lives, int.from_bytes(message[at - 4 : at], "big"))
    return 0


def _record(message: bytes, at: int) -> tuple[int, int, int, int]:
    """Kind, TTL, where the data begin, and where they end."""
    at = at + 2 if message[at] >= 0xC0 else _skip_name(message, at)
    if at + 10 > len(message):
        raise BadMessage("cut short")
    kind = int.from_bytes(message[at : at + 2], "big")
    lives = int.from_bytes(message[at + 4 : at + 8], "big")
    end = at + 10 + int.from_bytes(message[at + 8 : at + 10], "big")
    if end > len(message):
        raise BadMessage("cut short")
    return kind, 0 if lives & 0x80000000 else lives, at + 10, end


def _skip_name(message: bytes, at: int) -> int:
    while True:
        length = message[at]
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise BadMessage("a label of no known type")
        at += 1 + length
        if not length:
            return at


def _value(message: bytes, kind: int, start: int, end: int) -> str:
    data = message[start:end]
    if kind == Kind.A:
        return str(ipaddress.IPv4Address(data)) if len(data) == 4 else ""
    if kind == Kind.AAAA:
        return str(ipaddress.IPv6Address(data)) if len(data) == 16 else ""
    if kind == Kind.TXT:
        return _text(data)
    return _name(message, start + 2 if kind == Kind.MX else start)


def _text(data: bytes) -> str:
    """Character strings put together, as people read them; bytes beyond ASCII as Latin-1."""
    at, found = 0, bytearray()
    while at < len(data):
        length = data[at]
        found += data[at + 1 : at + 1 + length]
        at += 1 + length
    return found.decode("latin-1")


def _name(message: bytes, at: int) -> str:
    """A name with its pointers followed, lower case; bounded, so that a loop of pointers ends."""
    labels = list[str]()
    for _ in range(_MOST_HOPS * 2):
        length = message[at]
        if not length:
            return ".".join(labels)
        if length >= 0xC0:
            at = (length & 0x3F) << 8 | message[at + 1]
        elif length > 63:
            raise BadMessage("a label of no known type")
        else:
            labels.append(message[at + 1 : at + 1 + length].decode("latin-1").lower())
            at += 1 + length
        if len(labels) > _MOST_HOPS * 2:
            break
    raise BadMessage("a name without end")
