"""Packets of the milter protocol: codes, what is negotiated, how fields are read and replies are written.

A packet is a 32-bit big-endian length, which counts the command, one byte of command, and data; strings end in NUL.
Names follow libmilter's `mfdef.h` without its prefixes.
"""

from __future__ import annotations

import struct

from penstock.model import Reply

VERSION = 6

CMD_ABORT = ord("A")
CMD_BODY = ord("B")
CMD_CONNECT = ord("C")
CMD_MACROS = ord("D")
CMD_END = ord("E")
CMD_HELO = ord("H")
CMD_QUIT_NEW = ord("K")
CMD_HEADER = ord("L")
CMD_MAIL = ord("M")
CMD_END_OF_HEADERS = ord("N")
CMD_NEGOTIATE = ord("O")
CMD_QUIT = ord("Q")
CMD_RCPT = ord("R")
CMD_DATA = ord("T")
CMD_UNKNOWN = ord("U")

# What a milter may do to a message (SMFIF_*).
ADD_HEADERS = 0x01
CHANGE_HEADERS = 0x10
SET_MACROS = 0x100

# How the two talk (SMFIP_*): steps that are not sent, steps that get no reply, and manners.
NO_UNKNOWN = 1 << 8
NO_EOH = 1 << 6
NO_DATA = 1 << 9
CAN_SKIP = 1 << 10
NR_HDR = 1 << 7
NR_CONN = 1 << 12
NR_HELO = 1 << 13
NR_RCPT = 1 << 15
NR_DATA = 1 << 16
NR_UNKN = 1 << 17
NR_EOH = 1 << 18
NR_BODY = 1 << 19
HDR_LEADSPC = 1 << 20

_WANTED_ACTIONS = ADD_HEADERS | CHANGE_HEADERS
_WANTED_STEPS = (
    NO_UNKNOWN
    | NO_EOH
    | NO_DATA
    | CAN_SKIP
    | NR_HDR
    | NR_CONN
    | NR_HELO
    | NR_RCPT
    | NR_DATA
    | NR_UNKN
    | NR_EOH
    | NR_BODY
    | HDR_LEADSPC
)
# Naming macros for one stage empties every other stage's list, so each stage that matters stands here. Stages left
# out (end of headers, which is also sent before each header and body chunk) then cost nothing.
_MACROS = (
    (0, b"{daemon_name} {client_addr}"),
    (1, b"{tls_version}"),
    (2, b"i {auth_authen} {auth_type} {tls_version} {daemon_name}"),
    (3, b"{rcpt_mailer}"),
    (5, b"i"),
)
_LONGEST_REPLY = 500  # octets; RFC 5321 4.5.3.1.5 allows 512 with the line end
_LONGEST_TEXT = 4096  # characters of a name, address or macro value that are kept
_MOST_MACRO_BYTES = 65_536  # of one packet of macros


class MilterError(Exception):
    """The peer does not speak the milter protocol as we know it; says what was wrong."""


def packet(command: bytes, data: bytes = b"") -> bytes:
    """One packet."""
    return (len(data) + 1).to_bytes(4, "big") + command + data


CONTINUE = packet(b"c")
ACCEPT = packet(b"a")
DISCARD = packet(b"d")
SKIP = packet(b"s")
TEMPFAIL = packet(b"t")


def negotiate(payload: bytes) -> tuple[int, bytes]:
    """Read what the mail server offers; returns the steps agreed on and our answer. Raises MilterError."""
    if len(payload) < 12:
        raise MilterError("a negotiation of fewer than 12 bytes")
    version, actions, steps = struct.unpack_from(">III", payload)
    if version < 2:
        raise MilterError(f"milter protocol {version}")
    if actions & _WANTED_ACTIONS != _WANTED_ACTIONS:
        raise MilterError("a mail server that lets nobody add and delete headers")
    agreed = steps & _WANTED_STEPS
    macros = b""
    if actions & SET_MACROS and version >= 6:
        macros = b"".join(stage.to_bytes(4, "big") + names + b"\0" for stage, names in _MACROS)
    wanted = _WANTED_ACTIONS | (SET_MACROS if macros else 0)
    return agreed, packet(b"O", struct.pack(">III", min(version, VERSION), wanted, agreed) + macros)


def text(data: bytes) -> str:
    """A string of the mail server: UTF-8 where it is, and never longer than 4096 characters."""
    return data[: 4 * _LONGEST_TEXT].decode("utf-8", "replace")[:_LONGEST_TEXT]


def strings(payload: bytes) -> list[bytes]:
    """NUL-terminated strings; at least one, perhaps empty."""
    return payload.removesuffix(b"\0").split(b"\0")


def path(data: bytes) -> str:
    """A reverse-path or forward-path without its angle brackets."""
    found = text(data).strip()
    return found[1:-1] if found.startswith("<") and found.endswith(">") else found


def macros(payload: bytes) -> dict[bytes, bytes]:
    """`name NUL value NUL …` by name; Sendmail writes one-letter names with and without braces."""
    fields = payload[:_MOST_MACRO_BYTES].split(b"\0")
    return {name.strip(b"{}"): value for name, value in zip(fields[::2], fields[1::2], strict=False)}


def read_connect(payload: bytes) -> tuple[str, str]:
    """The client's name and address; the address is empty for a Unix socket or where it is unknown."""
    name, nul, rest = payload.partition(b"\0")
    if not nul or not rest:
        raise MilterError("a connection without family")
    client = text(name)
    client = "" if client.startswith("[") else client  # Postfix writes an unresolved client as its address in brackets
    if rest[:1] not in (b"4", b"6") or len(rest) < 3:
        return client, ""
    address = text(rest[3:].partition(b"\0")[0])
    return client, address[5:] if address[:5].lower() == "ipv6:" else address


def delete_header(name: str, occurrence: int) -> bytes:
    """Delete one occurrence of a header, counted from 1."""
    return packet(b"m", occurrence.to_bytes(4, "big") + _field(name) + b"\0" + b"\0")


def insert_header(name: str, value: str) -> bytes:
    """Put a header on top of all others."""
    return packet(b"i", (0).to_bytes(4, "big") + _field(name) + b"\0" + _field(value) + b"\0")


def _field(value: str) -> bytes:
    """Bytes for a header field: folded by LF alone, as milters do, and without NUL."""
    return value.replace("\0", "").replace("\r\n", "\n").replace("\r", "").encode("utf-8", "replace")


def reply(reply: Reply) -> bytes:
    """A refusal in our own words, always valid: Postfix takes anything else for a fault of the configuration.

    The code is 4xx or 5xx and the RFC 3463 status of the same class. Mail servers take '%' for the beginning of a
    macro, so it is doubled; the rest is one line of printable ASCII.
    """
    code = reply.code if 400 <= reply.code <= 559 else 451
    status = reply.enhanced
    digits = status.split(".")
    if len(digits) != 3 or digits[0] != str(code)[0] or not all(one.isdecimal() and len(one) <= 3 for one in digits):
        status = f"{code // 100}.7.1"
    words = "".join(sign if " " <= sign <= "~" else "?" for sign in " ".join(reply.text.split()))
    line = f"{code} {status} {words}"[:_LONGEST_REPLY].rstrip()
    return packet(b"y", line.replace("%", "%%").encode() + b"\0")
