"""The content of a message as it comes in after DATA: in chunks, never line by line."""

from __future__ import annotations

from msgspec import Struct

_END = b"\r\n.\r\n"


class Room(Struct):
    """How many bytes of messages all connections of a process together may keep in memory."""

    limit_bytes: int
    used_bytes: int = 0


class DataReader:
    """Takes chunks up to `<CRLF>.<CRLF>`, the only thing that ends a message (RFC 5321 section 4.1.1.4).

    Bytes beyond the largest message, or beyond the room that all connections share, are read and dropped, so that the
    refusal is the answer to the message.
    """

    def __init__(self, max_bytes: int, max_line_bytes: int, room: Room) -> None:
        self._max_bytes = max_bytes
        self._max_line_bytes = max_line_bytes
        self._room = room
        self._chunks: list[bytes] = []
        self._kept = 0
        self._size = 0
        self._tail = b"\r\n"  # the line end of DATA itself: a message may be a lone dot
        self.is_too_large = False
        self.is_without_room = False

    def feed(self, data: bytes) -> bytes | None:
        """Take a chunk; what stands behind the end of the message, or None while it goes on."""
        tail = self._tail
        joined = tail + data if len(tail) < 5 else tail
        at = joined.find(_END)
        if at < 0:
            self._keep(data)
            self._tail = joined[-4:]
            return None
        end = at + len(_END) - len(tail)  # within data
        self._keep(data[:end])
        return data[end:]

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes + len(_END):
            self.is_too_large = True
        elif self._room.used_bytes + len(data) > self._room.limit_bytes:
            self.is_without_room = True
        if self.is_too_large or self.is_without_room:
            self.release()
            return
        self._room.used_bytes += len(data)
        self._kept += len(data)
        self._chunks.append(data)

    def message(self) -> bytes:
        """The message without its end and its dot-stuffing (RFC 5321 section 4.5.2); still counted until `release`."""
        raw = b"".join(self._chunks)
        self._chunks = []
        raw = raw[1 if raw.startswith(b".") else 0 : -3]
        return raw.replace(b"\r\n.", b"\r\n")

    def release(self) -> None:
        """Give the room back."""
        self._room.used_bytes -= self._kept
        self._kept = 0
        self._chunks = []

    def fault_of(self, raw: bytes) -> str:
        """What is wrong with the lines of a message, or nothing: bare CR or LF (RFC 5321 2.3.8), a line too long."""
        lines = raw.count(b"\r\n")
        if raw.count(b"\n") != lines or raw.count(b"\r") != lines:
            return "bare"
        at, most = 0, self._max_line_bytes
        while len(raw) - at > most:
            # The last line end within reach: as many steps as the message has windows, not lines.
            found = raw.rfind(b"\r\n", at, at + most + 2)
            if found < at:
                return "long"
            at = found + 2
        return ""
