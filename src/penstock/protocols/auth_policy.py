"""Dovecot's auth policy protocol, as its client and PowerDNS' weakforced speak it: JSON bodies in, JSON replies out.

`?command=allow` asks whether a login may go on, before or after the password was checked; `?command=report` tells how
it ended. A good login makes two questions and one report by Dovecot's defaults, so that only reports are counted.
Names of fields: dovecot/core src/auth/auth-policy.c, PowerDNS/weakforced README.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from penstock.attempts import Attempt, service_of

MOST_BYTES = 64 * 1024
_LONGEST = 255
_WRONG = ("", "credentials", "account")
"""What `fail_type` says where name or password were wrong; older Dovecot says nothing."""
_decoder = msgspec.json.Decoder(dict[str, Any])


class BadPolicyRequest(ValueError):
    """A body that is no question and no report; the text says what is wrong."""


class Report(Struct, frozen=True):
    """How a login ended."""

    attempt: Attempt
    is_refused_by_policy: bool = False
    """Whether our own answer ended it; that is no evidence."""


def read_question(body: bytes, now: float) -> Attempt:
    """The body of `allow`. Raises BadPolicyRequest."""
    return _attempt(_fields(body), now, is_good=True)


def read_report(body: bytes, now: float) -> Report:
    """The body of `report`. Raises BadPolicyRequest."""
    fields = _fields(body)
    is_good, is_ours = _truth(fields.get("success")), _truth(fields.get("policy_reject"))
    fail_type = _text(fields.get("fail_type")).lower()
    is_wrong = not is_good and not is_ours and fail_type in _WRONG
    attempt = _attempt(fields, now, is_good=is_good, is_wrong_password=is_wrong)
    return Report(attempt, is_ours or fail_type == "policy")


def answer(status: int, message: str = "") -> bytes:
    """The reply to `allow`: below nought refuses with the message as reason, nought goes on, above waits seconds."""
    return msgspec.json.encode({"status": status, "msg": message, "r_attrs": {}})


REPORTED = b'{"status":"ok"}'
"""The reply to `report`; Dovecot does not look at it."""


def _fields(body: bytes) -> dict[str, Any]:
    if len(body) > MOST_BYTES:
        raise BadPolicyRequest(f"more than {MOST_BYTES} bytes")
    try:
        # Names and passwords of strangers need not be UTF-8.
        return _decoder.decode(body.decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as trouble:
        raise BadPolicyRequest(f"no JSON object: {trouble}"[:200]) from None


def _attempt(fields: dict[str, Any], now: float, *, is_good: bool, is_wrong_password: bool = False) -> Attempt:
    login = _text(fields.get("login"))
    if not login:
        raise BadPolicyRequest('no "login"; send e.g. {"login": "joe@example.com", "remote": "192.0.2.7"}')
    return Attempt(
        now,
        login,
        _text(fields.get("remote")),
        service_of(_text(fields.get("protocol"))),
        _text(fields.get("device_id")),
        is_good,
        is_wrong_password,
        _text(fields.get("pwhash"))[:16],
        _text(fields.get("session_id")),
    )


def _text(value: object) -> str:
    """A field's text, one printable line of bounded length; what is no text or number is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value)[: 4 * _LONGEST]
    return "".join(sign for sign in text if sign.isprintable()).strip()[:_LONGEST]


def _truth(value: object) -> bool:
    """A truth value; weakforced's own examples send words."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")
