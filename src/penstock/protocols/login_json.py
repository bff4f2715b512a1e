"""`POST /login` for panels and web-mail: one JSON object in, one out.

In: `login` and `ip`; and `service` (`web`, `imap`, `smtp` …), `client`, `session` where known. Without `ok` it asks
whether the login may go on; with `ok` it also tells whether the password was right, which is counted.
Out: `allow`, and why not: `reason`, `text` for the customer, `evidence` for the operator.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from penstock.attempts import Attempt, Permission, service_of
from penstock.model import Account

MOST_BYTES = 16 * 1024
_LONGEST = 255


class BadLogin(ValueError):
    """A body that is no login; the text says what is wrong."""


class _Told(Struct, frozen=True, forbid_unknown_fields=True):
    login: str
    ip: str
    service: str = ""
    client: str = ""
    session: str = ""
    ok: bool | None = None


class _Changed(Struct, frozen=True, forbid_unknown_fields=True):
    login: str = ""
    account: str = ""


def read_login(body: bytes, now: float) -> tuple[Attempt, bool]:
    """The login, and whether it was only asked about. Raises BadLogin."""
    if len(body) > MOST_BYTES:
        raise BadLogin(f"more than {MOST_BYTES} bytes")
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
        raise BadLogin(f'{trouble}; send e.g. {{"login": "joe@example.com", "ip": "192.0.2.7"}}'[:300]) from None
    if not _line(told.login):
        raise BadLogin("`login` is empty")
    is_wrong = told.ok is False
    attempt = Attempt(
        now,
        _line(told.login),
        _line(told.ip),
        service_of(told.service) or "web",
        _line(told.client),
        not is_wrong,
        is_wrong,
        session=_line(told.session),
    )
    return attempt, told.ok is None


def read_password_change(body: bytes) -> str:
    """The account whose password was changed, `kind:value`: of `{"login": …}`, or `{"account": …}`. Raises BadLogin."""
    try:
        told = msgspec.json.decode(body[:MOST_BYTES], type=_Changed)
        return str(Account.parse((_line(told.account) or (f"sasl:{_line(told.login)}" if told.login else "")).lower()))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as trouble:
        raise BadLogin(f'{trouble}; send e.g. {{"login": "joe@example.com"}}'[:300]) from None


def taken(account: str) -> bytes:
    """The reply to a change of password."""
    return msgspec.json.encode({"account": account, "taken": True})


def answer(permission: Permission) -> bytes:
    """The reply."""
    return msgspec.json.encode(
        {
            "allow": not permission.is_refused,
            "wanted": "refuse" if permission.is_wanted_refused else "allow",
            "judged": permission.is_judged,
            "reason": permission.reason,
            "text": permission.text,
            "account": permission.account,
            "nats": permission.nats,
            "line": permission.line,
            "evidence": [{"name": one.name, "nats": one.nats, "seen": one.seen} for one in permission.evidence],
        }
    )


def _line(text: str) -> str:
    return "".join(sign for sign in text[: 4 * _LONGEST] if sign.isprintable()).strip()[:_LONGEST]
