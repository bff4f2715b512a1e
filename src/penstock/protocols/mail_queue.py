"""What lies in a mail server's queue: Postfix's `postqueue -j` (3.1 and later) and Exim's `exim -bp`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

_LONGEST_LINE = 4 * 1024 * 1024


class Queued(Struct, frozen=True):
    """One message that waits."""

    queue_id: str
    mail_from: str
    recipients: tuple[str, ...]
    """Those that it still waits for."""
    age_s: float
    size_bytes: int
    is_held: bool
    reason: str = ""
    """Why the first of them waits, as the mail server says."""


class _Recipient(Struct):
    address: str = ""
    delay_reason: str = ""


class _Postfix(Struct):
    queue_id: str
    queue_name: str = ""
    arrival_time: float = 0.0
    message_size: int = 0
    sender: str = ""
    recipients: list[_Recipient] = []


_DECODER = msgspec.json.Decoder(_Postfix)
_EXIM_HEAD = re.compile(
    r"^\s{0,4}(\d{1,5})([mhdw])\s+([\d.]{1,10})([KMG]?)\s+([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})"
    r"\s+<([^>]{0,1000})>(.*)$"
)
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def read_postfix(lines: Iterable[bytes], now: float) -> Iterator[Queued]:
    """Read `postqueue -j`: one JSON object a line. Raises ValueError for a line that is none."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = _DECODER.decode(line[:_LONGEST_LINE])
        except msgspec.DecodeError as error:
            raise ValueError(f"postqueue -j, line {number}: {error}") from error
        yield Queued(
            one.queue_id,
            "" if one.sender == "MAILER-DAEMON" else one.sender,
            tuple(rcpt.address for rcpt in one.recipients),
            max(0.0, now - one.arrival_time),
            one.message_size,
            one.queue_name == "hold",
            next((rcpt.delay_reason for rcpt in one.recipients if rcpt.delay_reason), ""),
        )


def read_exim(lines: Iterable[bytes], now: float) -> Iterator[Queued]:
    """Read `exim -bp`: a line for the message, one for each recipient (those with a D are done), an empty one."""
    head: re.Match[str] | None = None
    waiting: list[str] = []
    for raw in (*lines, b""):
        line = raw.decode("utf-8", "replace").rstrip()
        if found := _EXIM_HEAD.match(line):
            if head is not None:
                yield _from_exim(head, waiting)
            head, waiting = found, []
        elif not line.strip() and head is not None:
            yield _from_exim(head, waiting)
            head = None
        elif head is not None and not line.lstrip().startswith("D "):
            waiting.append(line.strip())


def _from_exim(head: re.Match[str], waiting: list[str]) -> Queued:
    count, unit, size, scale, queue_id, sender, rest = head.groups()
    plain = float(size) if size.count(".") <= 1 and size.strip(".") else 0.0
    is_held = "*** frozen ***" in rest
    return Queued(queue_id, sender, tuple(waiting), int(count) * _UNITS[unit], int(plain * _SIZES[scale]), is_held)
