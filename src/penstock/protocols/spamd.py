"""SpamAssassin's protocol, SPAMC/1.5: one request, one reply, then the server closes.

As in SpamAssassin's own `spamd/PROTOCOL`. SYMBOLS gives the score and the names of the rules that hit, as CHECK would
give the score alone.
"""

from __future__ import annotations

import re

from penstock.model import Opinion

_LONGEST_LINE = 1000
_MOST_SYMBOLS = 30
_SPAM = re.compile(rb"^Spam:[ \t]*(?:True|False|Yes|No)[ \t]*;[ \t]*(-?\d{1,9}(?:\.\d{1,9})?)[ \t]*/[ \t]*(-?\d{1,9}(?:\.\d{1,9})?)[ \t]*$", re.I | re.M)  # fmt: skip  # noqa: E501
_STATUS = re.compile(rb"SPAMD/\d\.\d (\d{1,3})(?: ([^\r\n]{0,200}))?")


def check_request(raw: bytes, user: str = "") -> bytes:
    """Ask for score and rules of a message; `user` chooses whose preferences count, where spamd has some."""
    head = f"SYMBOLS SPAMC/1.5\r\nContent-length: {len(raw)}\r\n"
    if user:
        head += f"User: {user}\r\n"
    return head.encode() + b"\r\n" + raw


def read_reply(data: bytes) -> Opinion:
    """What spamd said. Raises ValueError where it is no whole reply, or one that says it failed."""
    head, gap, body = data.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if not status or not gap:
        raise ValueError(f"no reply of spamd: {data[:100]!r}")
    if status[1] != b"0":
        raise ValueError(f"spamd answers {status[0][:100]!r}")
    found = _SPAM.search(head.replace(b"\r\n", b"\n")[: 8 * _LONGEST_LINE])
    if not found:
        raise ValueError(f"spamd gives no score: {head[:100]!r}")
    names = body[: 8 * _LONGEST_LINE].decode("ascii", "replace").replace("\n", ",").split(",")
    symbols = tuple(name.strip()[:100] for name in names if name.strip())[:_MOST_SYMBOLS]
    return Opinion("spamassassin", float(found[1]), float(found[2]), symbols)
