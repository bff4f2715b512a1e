"""Lines of Postfix's log and the transactions that they add up to: who sent what to whom, and what became of it.

Formats are those of Postfix 3.4 and later behind syslog (RFC 3164 or RFC 3339 times) or `maillog_file`. A line that is
none of Postfix's, or says nothing about a queued message, is nobody's fault and gives None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

from msgspec import Struct

_LONGEST_LINE = 8192
_MOST_RECIPIENTS = 50_000
_LINE = re.compile(
    r"^(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?) "
    r"\S+ (?P<tag>[\w./-]{1,60})/(?P<daemon>[\w-]{1,30})\[\d+\]: "
    r"(?P<id>[0-9A-F]{6,16}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}): (?P<rest>.*)$"
)
_KNOWN = (
    "client",
    "sasl_method",
    "sasl_username",
    "message-id",
    "from",
    "size",
    "nrcpt",
    "to",
    "relay",
    "dsn",
    "status",
    "uid",
)
_FIELD = re.compile(rf"(?:^|,? )({'|'.join(_KNOWN)})=(<[^>]*>|[^,\s]*)")
_CLIENT = re.compile(r"^([^\[]*)\[([^\]]*)\]")
_STATUS = re.compile(r"\bstatus=(\w+) \((.*)\)$")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}


class LogLine(Struct, frozen=True):
    """One line about a queued message."""

    at: float
    """Unix seconds."""
    daemon: str
    """`smtpd`, `cleanup`, `qmgr`, `smtp`, `lmtp`, `local`, `bounce` …"""
    queue_id: str
    fields: dict[str, str]
    """What of `client=`, `from=`, `to=`, `status=` … it says, without angle brackets."""
    text: str
    """Everything after the queue id; for deliveries, the receiver's reply is in `reply`."""
    reply: str = ""


class Recipient(Struct, frozen=True):
    """What became of one recipient, last known."""

    address: str
    at: float
    status: str
    """`sent`, `bounced`, `deferred`, `expired` …"""
    dsn: str
    """RFC 3463 code."""
    reply: str


class Transaction(Struct):
    """One message of the log, from its first line to `removed`."""

    queue_id: str
    at: float
    login: str = ""
    uid: str = ""
    """Unix user of local submissions (pickup)."""
    client_name: str = ""
    client_ip: str = ""
    message_id: str = ""
    mail_from: str = ""
    size_bytes: int = 0
    recipients: dict[str, Recipient] = {}
    is_removed: bool = False


def read_line(line: str, *, year: int, zone: tzinfo = UTC) -> LogLine | None:
    """Read one line; `year` and `zone` stand in where the time has none. None where it is about no queued message."""
    match = _LINE.match(line[:_LONGEST_LINE].rstrip("\r\n"))
    if match is None:
        return None
    at = read_time(match["time"], year, zone)
    if at is None:
        return None
    rest = match["rest"]
    status = _STATUS.search(rest)
    told = rest[: status.start()] if status else rest
    fields = {name: value.strip("<>") for name, value in _FIELD.findall(told)}
    if status:
        fields["status"] = status[1]
    return LogLine(at, match["daemon"], match["id"], fields, rest, status[2] if status else "")


class Assembler:
    """Puts lines together by queue id; of more than `most` under way the oldest is let go."""

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._open: dict[str, Transaction] = {}

    def add(self, line: LogLine) -> Transaction | None:
        """Take in a line; the transaction that it ends, if it ends one."""
        found = self._open.get(line.queue_id)
        if found is None:
            found = self._open[line.queue_id] = Transaction(line.queue_id, line.at)
        _learn(found, line)
        if line.text == "removed":
            found.is_removed = True
            return self._open.pop(line.queue_id)
        if len(self._open) > self._most:
            return self._open.pop(next(iter(self._open)))
        return None

    def rest(self) -> Iterator[Transaction]:
        """What is still under way at the end of the log."""
        yield from self._open.values()
        self._open.clear()


def _learn(found: Transaction, line: LogLine) -> None:
    fields = line.fields
    if client := _CLIENT.match(fields.get("client", "")):
        found.client_name, found.client_ip = client[1], client[2]
    found.login = fields.get("sasl_username", found.login)
    found.uid = fields.get("uid", found.uid)
    found.message_id = fields.get("message-id", found.message_id)
    if "from" in fields and line.daemon in ("qmgr", "oqmgr", "pickup"):
        found.mail_from = fields["from"]
    if fields.get("size", "").isdigit():
        found.size_bytes = int(fields["size"])
    address = fields.get("to", "")
    if address and "status" in fields and len(found.recipients) < _MOST_RECIPIENTS:
        found.recipients[address] = Recipient(address, line.at, fields["status"], fields.get("dsn", ""), line.reply)


def read_time(text: str, year: int, zone: tzinfo) -> float | None:
    try:
        if text[0].isdigit():
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()
        hour, minute, second = (int(part) for part in text[7:].split(":"))
        return datetime(year, _MONTHS[text[:3]], int(text[4:6]), hour, minute, second, tzinfo=zone).timestamp()
    except (ValueError, KeyError, OverflowError):
        return None
