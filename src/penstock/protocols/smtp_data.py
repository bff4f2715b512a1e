"""The content of a message as it comes in after DATA: in chunks, never line by line, and never all at once."""

from __future__ import annotations

from msgspec import Struct

from penstock.model import Reply

_END = b"\r\n.\r\n"
_TOO_LARGE, _NO_ROOM, _BARE, _LONG = 1, 2, 4, 8
_REFUSALS = {
    _TOO_LARGE: Reply(552, "5.3.4", "Message is larger than this server takes"),
    _NO_ROOM: Reply(452, "4.3.1", "No room for this message now; try again later"),
    _BARE: Reply(550, "5.6.11", "Bare CR or LF in message (RFC 5321 section 2.3.8)"),
    _LONG: Reply(550, "5.6.0", "A line of the message is too long"),
}


class Room(Struct):
    """How many bytes of messages all connections of a process together may keep in memory."""

    limit_bytes: int
    used_bytes: int = 0


class DataReader:
    """Takes chunks up to `<CRLF>.<CRLF>`, the only thing that ends a message (RFC 5321 section 4.1.1.4).

    Each chunk is checked and freed of its dot-stuffing as it comes, so that the end of a huge message costs no more
    than that of a small one. What is refused is read on and dropped, so that the refusal answers the message.
    """

    def __init__(self, max_bytes: int, max_line_bytes: int, room: Room) -> None:
        self._max_bytes = max_bytes
        self._max_line_bytes = max_line_bytes
        self._room = room
        self._size = 0
        self._kept = 0
        self._carry = b""  # the last bytes so far, which may belong to the end
        self._is_line_start = True
        self._line_bytes = 0  # of the line that goes on
        self._faults = 0
        self.chunks: list[bytes] = []

    @property
    def refusal(self) -> Reply | None:
        """Why the message is not taken; the same however it was cut into chunks."""
        return _REFUSALS[self._faults & -self._faults] if self._faults else None

    def feed(self, data: bytes) -> bytes | None:
        """Take a chunk; what stands behind the end of the message, or None while it goes on."""
        block = self._carry + data
        if self._is_line_start and block.startswith(_END[2:]):
            return block[3:]
        end = block.find(_END)
        if end >= 0:
            self._take(block[: end + 2])
            return block[end + 5 :]
        cut = max(len(block) - 4, 0)
        if block[cut - 1 : cut] == b"\r":
            cut -= 1  # a line end stays in one piece
        self._take(block[:cut])
        self._carry = block[cut:]
        return None

    def _take(self, block: bytes) -> None:
        if not block:
            return
        was_line_start, self._is_line_start = self._is_line_start, block.endswith(b"\r\n")
        self._size += len(block)
        if self._size > self._max_bytes:
            self._faults |= _TOO_LARGE
        elif self._room.used_bytes + len(block) > self._room.limit_bytes:
            self._faults |= _NO_ROOM
        if not self._faults & _BARE:
            self._check(block)
        if self._faults:
            self.release()
            return
        self._room.used_bytes += len(block)
        self._kept += len(block)
        text = block.replace(b"\r\n.", b"\r\n")
        self.chunks.append(text[1:] if was_line_start and block.startswith(b".") else text)

    def _check(self, block: bytes) -> None:
        ends = block.count(b"\r\n")
        if block.count(b"\n") != ends or block.count(b"\r") != ends:
            self._faults |= _BARE
        at, most = -self._line_bytes, self._max_line_bytes
        while len(block) - at > most + 2:
            # The last line end within reach: as many steps as the block has windows, not lines.
            found = block.rfind(b"\r\n", max(at, 0), max(at + most + 2, 0))
            if found < 0:
                self._faults |= _LONG
                break
            at = found + 2
        last = block.rfind(b"\r\n")
        self._line_bytes = len(block) - last - 2 if last >= 0 else self._line_bytes + len(block)

    def release(self) -> None:
        """Give the room back."""
        self._room.used_bytes -= self._kept
        self._kept = 0
        self.chunks = []
