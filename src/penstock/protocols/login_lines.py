"""Lines of logs that tell of logins: Dovecot 2.2 to 2.4, Postfix's SASL, Exim, and Roundcube's `userlogins.log`.

They may stand in one file, mixed with all else that a mail server says. A line without the name of who logs in, or
without an address, is left out; nobody can be meant by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime, tzinfo

from penstock.attempts import Attempt, service_of
from penstock.protocols.deliveries import lines_with
from penstock.protocols.maillog import read_time

_LONGEST_LINE = 8192
_TIME = re.compile(
    r"^([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?)"
    r"|^\[(\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d [+-]\d{4})\]"
)
_IP = r"([0-9A-Fa-f.:]{3,45})"
_DOVECOT = re.compile(r"\b(imap|pop3|submission|managesieve|sieve)-login: (?:Info: )?(.{1,8000})")
_DOVECOT_GOOD = ("Login: ", "Logged in: ")
_DOVECOT_USER = re.compile(r"\buser=<([^>]{1,255})>")
_DOVECOT_FIELD = re.compile(r", (rip|session)=<?([^,>\s]{1,100})")
_POSTFIX_GOOD = re.compile(
    r"smtpd\[\d+\]: \S{6,20}: client=[^\[]{0,255}\[" + _IP + r"\].*?, sasl_username=([^\s,]{1,255})"
)
_POSTFIX_WRONG = re.compile(
    r"smtpd\[\d+\]: warning: [^\[]{0,255}\[" + _IP + r"\](?::\d+)?: SASL [\w-]{1,20} authentication failed: "
    r"(.{0,400}), sasl_username=(\S{1,255})$"
)
_NO_WRONG_PASSWORD = ("Connection lost", "Invalid authentication mechanism", "temporar")
_EXIM_AUTH = re.compile(r" A=[^\s:]{1,60}:(\S{1,255})")
_EXIM_SET_ID = re.compile(r"\(set_id=([^)]{1,255})\)")
_BRACKETED = re.compile(r"\[" + _IP + r"\]")
_ROUNDCUBE = re.compile(
    r"\b(Successful|Failed|FAILED) login for (.{1,255}) from " + _IP + r"(?:\([^)]{0,200}\))?(?= in session |\s*$| \()"
)
_ROUNDCUBE_ID = re.compile(r" \(ID: \d+\)$")

Found = tuple[str, str, str, bool, str]
"""Name, address, service, whether it was good, session."""


def logins(block: bytes, year: int, zone: tzinfo) -> Iterator[Attempt]:
    """Every login of a block of whole lines, good or failed."""
    words = (b"-login: ", b"sasl_username=", b" authenticator failed for ", b" A=", b"login for ")
    for line in lines_with(block, words):
        text = line[:_LONGEST_LINE].rstrip("\r\n")
        at, found = _time(text, year, zone), _found(text)
        if at is None or found is None:
            continue
        name, ip, service, is_good, session = found
        yield Attempt(
            at, name, ip, service, is_good=is_good, is_wrong_password=not is_good, session=session or _mark(text)
        )


def _found(text: str) -> Found | None:
    for read in (_dovecot, _postfix, _exim, _roundcube):
        if found := read(text):
            return found
    return None


def _dovecot(text: str) -> Found | None:
    match = _DOVECOT.search(text)
    if match is None:
        return None
    service, rest = match.groups()
    is_good = rest.startswith(_DOVECOT_GOOD)
    user, fields = _DOVECOT_USER.search(rest), dict(_DOVECOT_FIELD.findall(rest))
    if user is None or "rip" not in fields or not (is_good or "(auth failed, " in rest):
        return None
    # A session may fail, and then succeed; the log tells of both under one name.
    session = fields.get("session", "")
    return user[1], fields["rip"], service_of(service), is_good, session if is_good else ""


def _postfix(text: str) -> Found | None:
    if match := _POSTFIX_GOOD.search(text):
        return match[2], match[1], "smtp", True, ""
    match = _POSTFIX_WRONG.search(text)
    if match is None or any(one in match[2] for one in _NO_WRONG_PASSWORD):
        return None
    return match[3], match[1], "smtp", False, ""


def _exim(text: str) -> Found | None:
    _, mark, rest = text.partition(" authenticator failed for ")
    if mark:
        head, code, reason = rest.partition(": 535 ")
        name, ip = _EXIM_SET_ID.search(reason), _exim_host(head)
        return (name[1], ip, "smtp", False, "") if code and name and ip else None
    _, mark, rest = text.partition(" <= ")
    # Between protocol and size, in Exim's order; a quoted sender, or a subject, may say what it likes.
    if not mark or rest.startswith('"'):
        return None
    head, _, more = rest.partition(" P=")
    name, ip = _EXIM_AUTH.search(more.partition(" S=")[0]), _exim_host(head)
    return (name[1], ip, "smtp", True, "") if name and ip else None


def _exim_host(text: str) -> str:
    """The client's address: the last one before what Exim says of its own."""
    return next(reversed(_BRACKETED.findall(text.partition(" I=[")[0])), "")


def _roundcube(text: str) -> Found | None:
    match = _ROUNDCUBE.search(text)
    if match is None:
        return None
    return _ROUNDCUBE_ID.sub("", match[2]), match[3], "web", match[1] == "Successful", ""


def _time(text: str, year: int, zone: tzinfo) -> float | None:
    match = _TIME.search(text)
    if match is None:
        return None
    if match[2]:
        try:
            return datetime.strptime(match[2], "%d-%b-%Y %H:%M:%S %z").timestamp()
        except ValueError:
            return None
    told = match[1]
    return read_time(told.replace(" ", "T", 1).replace(" ", "") if told[0].isdigit() else told, year, zone)


def _mark(text: str) -> str:
    """A name for a line that names no session, so that a log that is read again counts once."""
    return f"line-{hashlib.blake2b(text.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"
