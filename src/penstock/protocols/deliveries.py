"""What delivery logs say, in bulk: which messages a mail server took, and which recipients did not get theirs.

Postfix 3.4 and later, Exim's main log and Sendmail. A busy log has a hundred lines for each that says anything here, so
a block of many lines is searched as a whole for the few words that matter, and only lines with one of them are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo

from msgspec import Struct
from msgspec.structs import replace

from penstock.attempts import Attempt
from penstock.protocols.maillog import read_line, read_time

_MOST_TEXT = 2000


class Arrival(Struct, frozen=True):
    """A mail server took a message in."""

    queue_id: str
    message_id: str = ""
    login: str = ""


class Outcome(Struct, frozen=True):
    """A recipient did not get a message, for now or for good."""

    at: float
    queue_id: str
    recipient: str
    status: str
    """`bounced`, `deferred`, `expired`."""
    reply: str
    """The receiver's words, with what the mail server puts around them."""
    enhanced: str = ""
    """Enhanced status as the mail server understood it."""
    relay: str = ""
    """The host that answered; empty where none did."""


Told = Arrival | Outcome | Attempt


class Reader:
    """Reads whole lines of one log."""

    def __init__(
        self, read: Callable[[bytes, int, tzinfo], Iterator[Told]], zone: tzinfo = UTC, *, place_kind: str = "log"
    ) -> None:
        """`place_kind` is what the place in a log is kept under, where two read the same one."""
        self._read = read
        self._zone = zone
        self.place_kind = place_kind

    def block(self, block: bytes, now: float) -> Iterator[Told]:
        """What a block of whole lines says. `now` gives the year to times that have none."""
        today = datetime.fromtimestamp(now, self._zone)
        for one in self._read(block, today.year, self._zone):
            # A log that is read in January still speaks of December.
            if not isinstance(one, Arrival) and one.at > now + 2 * 86400.0:
                yield replace(one, at=one.at - _YEAR_S)
            else:
                yield one


_YEAR_S = 365 * 86400.0


# Postfix.

_QUEUE_ID = rb"([0-9A-F]{6,16}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20})"
_POSTFIX_ARRIVAL = re.compile(
    rb"/(?:cleanup|smtpd|submission/smtpd|smtps/smtpd|submissions/smtpd)\[\d+\]: " + _QUEUE_ID + rb": "
    rb"(?:(?:resent-)?message-id=<?([^>\n]{1,400})|client=[^\n]{1,300}?, sasl_username=([^\s,]{1,200}))"
)
_POSTFIX_WORDS = (b"status=bounced", b"status=deferred", b"status=expired")


def postfix(block: bytes, year: int, zone: tzinfo) -> Iterator[Arrival | Outcome]:
    """Postfix's lines, whichever service names and `syslog_name` it has."""
    for queue_id, message_id, login in _POSTFIX_ARRIVAL.findall(block):
        yield Arrival(_text(queue_id), _text(message_id), _text(login))
    for line in lines_with(block, _POSTFIX_WORDS):
        found = read_line(line, year=year, zone=zone)
        if found is None or not found.fields.get("to"):
            continue
        relay = found.fields.get("relay", "").partition("[")[0]
        yield Outcome(
            found.at,
            found.queue_id,
            found.fields["to"],
            found.fields.get("status", ""),
            found.reply[:_MOST_TEXT],
            found.fields.get("dsn", ""),
            "" if relay == "none" else relay,
        )


# Exim.

_EXIM_LINE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: [+-]\d{4})?) (?:\[\d+\] )?"
    r"([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) (<=|\*\*|==) (.*)"
)
_EXIM_AUTH = re.compile(r" A=[^\s:]{1,60}:(\S{1,200})")
_EXIM_MESSAGE_ID = re.compile(r" id=(\S{1,400})")
_EXIM_HOST = re.compile(r"\bhost (\S{1,255}) \[[0-9A-Fa-f.:]{2,45}\]|\bH=(\S{1,255}) \[")


def exim(block: bytes, year: int, zone: tzinfo) -> Iterator[Arrival | Outcome]:
    """Exim's main log; `log_selector` may add what it likes."""
    for line in lines_with(block, (b" <= ", b" ** ", b" == ")):
        match = _EXIM_LINE.search(line)
        if match is None:
            continue
        time, queue_id, mark, rest = match.groups()
        if mark == "<=":
            login, message_id = _EXIM_AUTH.search(rest), _EXIM_MESSAGE_ID.search(rest)
            yield Arrival(queue_id, message_id[1] if message_id else "", login[1] if login else "")
            continue
        at = read_time(time.replace(" ", "T", 1).replace(" ", ""), year, zone)
        head, _, words = rest.partition(": ")
        recipient = head.split(" ", 1)[0].strip("<>")
        if at is None or "@" not in recipient:
            continue
        host = _EXIM_HOST.search(rest)
        status = "bounced" if mark == "**" else "deferred"
        reply = words if mark == "**" else rest.partition(" defer ")[2] or words
        yield Outcome(at, queue_id, recipient, status, reply[:_MOST_TEXT], relay=(host[1] or host[2]) if host else "")


# Sendmail.

_SENDMAIL_LINE = re.compile(
    r"^(\w{3} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S{8,30}) \S+ "
    r"(?:sendmail|sm-mta|sm-msp-queue|sendmail-\w+)\[\d+\]: ([A-Za-z0-9]{8,20}): (.*)$"
)
_SENDMAIL_FIELD = re.compile(r"(?:^|, )(to|from|msgid|relay|dsn|authid)=(<[^>]{0,400}>|[^,]{0,400})")
_SENDMAIL_STAT = re.compile(r", stat=(.*)$")


def sendmail(block: bytes, year: int, zone: tzinfo) -> Iterator[Arrival | Outcome]:
    """Sendmail 8; a line may have several recipients, who share their fate."""
    for line in lines_with(block, (b"msgid=", b"authid=", b"stat=")):
        match = _SENDMAIL_LINE.match(line)
        if match is None or ", stat=Sent" in line:
            continue
        time, queue_id, rest = match.groups()
        stat = _SENDMAIL_STAT.search(rest)
        told = rest[: stat.start()] if stat else rest
        fields = {name: value.strip("<> ") for name, value in _SENDMAIL_FIELD.findall(told)}
        if "msgid" in fields or "authid" in fields:
            yield Arrival(queue_id, fields.get("msgid", ""), fields.get("authid", ""))
        at = read_time(time, year, zone)
        if stat is None or at is None or not rest.startswith("to="):
            continue
        status = "deferred" if stat[1].startswith("Deferred") else "bounced"
        relay = fields.get("relay", "").partition(" ")[0].rstrip(".")
        for recipient in told[3:].split(", ", 1)[0].split(","):
            address = recipient.strip("<> ")
            if "@" in address:
                yield Outcome(at, queue_id, address, status, stat[1][:_MOST_TEXT], fields.get("dsn", ""), relay)


FORMATS: dict[str, Callable[[bytes, int, tzinfo], Iterator[Arrival | Outcome]]] = {
    "postfix": postfix,
    "exim": exim,
    "sendmail": sendmail,
}


def lines_with(block: bytes, words: tuple[bytes, ...]) -> Iterator[str]:
    """Lines in which one of some words stands, each once for a word, in the order of the words."""
    for word in words:
        at = block.find(word)
        while at >= 0:
            start = block.rfind(b"\n", 0, at) + 1
            end = block.find(b"\n", at)
            end = len(block) if end < 0 else end
            yield _text(block[start:end])
            at = block.find(word, end)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
