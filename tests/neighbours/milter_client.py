"""A small client that speaks milter as Postfix does: what it writes, and how it reads the replies."""

import struct

OFFERED_ACTIONS, OFFERED_STEPS = 0x1FF, 0x1FFFFF


def packet(command: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data) + 1) + command + data


def z(*texts: bytes) -> bytes:
    return b"".join(text + b"\0" for text in texts)


def negotiation(version=6, actions=OFFERED_ACTIONS, steps=OFFERED_STEPS) -> bytes:
    return packet(b"O", struct.pack(">III", version, actions, steps))


def connect(name=b"client.example", address=b"192.0.2.7", family=b"4") -> bytes:
    return (
        packet(b"D", b"C" + z(b"{daemon_name}", b"submission"))
        + packet(b"C", z(name) + family + (struct.pack(">H", 40000) + z(address) if family != b"U" else b""))
        + packet(b"H", z(b"laptop"))
    )


def mail(sender=b"<joe@example.com>", login=b"joe@example.com", parameters=(b"SIZE=300", b"BODY=8BITMIME")) -> bytes:
    macros = packet(b"D", b"M" + z(b"{auth_authen}", login, b"{auth_type}", b"PLAIN"))
    return macros + packet(b"M", z(sender, *parameters))


def recipient(address=b"<a@far.example>", mailer=b"smtp") -> bytes:
    return packet(b"D", b"R" + z(b"{rcpt_mailer}", mailer)) + packet(b"R", z(address))


def content(headers=((b"Subject", b" hello"),), body=(b"Hi\r\n",), queue_id=b"4XQ1") -> bytes:
    return (
        b"".join(packet(b"L", z(name, value)) for name, value in headers)
        + b"".join(packet(b"B", piece) for piece in body)
        + packet(b"D", b"E" + z(b"i", queue_id))
        + packet(b"E")
    )


def replies(data: bytes) -> list[tuple[str, bytes]]:
    """Whole packets as (command, data)."""
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        assert at + 4 + length <= len(data), "a reply cut short"
        found.append((chr(data[at + 4]), data[at + 5 : at + 4 + length]))
        at += 4 + length
    return found
