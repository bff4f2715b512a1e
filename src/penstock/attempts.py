"""The record of a login: one attempt, good or failed, as Dovecot, a panel, the relay or a log tells of it."""

from __future__ import annotations

from msgspec import Struct

from penstock.model import Evidence


class Attempt(Struct, frozen=True):
    """Somebody logs in, or tries to."""

    at: float
    """Unix seconds."""
    login: str
    """The name as it was typed."""
    ip: str = ""
    """The client's address; empty where it is not told."""
    service: str = ""
    """`smtp`, `imap`, `pop3`, `web`, `sieve` …"""
    client: str = ""
    """What the client calls itself."""
    is_good: bool = True
    """Whether the password was right."""
    is_wrong_password: bool = False
    """Whether it failed for the name or the password, and not for a lock, a fault or our own refusal."""
    password: str = ""
    """A few bits of a keyed hash: they tell one wrong password from another, and nobody what it was."""
    session: str = ""
    """The mail server's name of the session; the same login told twice has the same one."""


class Location(Struct, frozen=True):
    """Where an address is, as far as files and lists tell; what nobody knows is empty."""

    asn: int = 0
    """Number of the autonomous system: whose network it is."""
    country: str = ""
    """ISO 3166 code."""
    latitude: float | None = None
    """Degrees."""
    longitude: float | None = None
    lists: tuple[str, ...] = ()
    """Lists of known-bad login sources that have it."""


class Permission(Struct, frozen=True):
    """Whether a login may go on."""

    is_refused: bool = False
    """What is to be done."""
    is_wanted_refused: bool = False
    """What would be done in enforce mode."""
    reason: str = ""
    """`PS-LOGIN` for the place, `PS-SUSPENDED` for the account; empty for yes."""
    account: str = ""
    evidence: tuple[Evidence, ...] = ()
    nats: float = 0.0
    line: float = 0.0
    is_judged: bool = True
    """False where the store did not answer, so that the login goes on."""

    @property
    def text(self) -> str:
        """What the client may be told; it tells a stranger nothing about the account."""
        return f"[{self.reason}] Login refused; contact your provider" if self.is_refused else ""


_SERVICES = {
    "submission": "smtp", "submissions": "smtp", "smtps": "smtp", "esmtp": "smtp", "imaps": "imap", "pop3s": "pop3",
    "managesieve": "sieve", "http": "web", "webmail": "web",
}  # fmt: skip


def service_of(name: str) -> str:
    """One name for what mail servers call differently; at most twenty characters."""
    plain = "".join(sign for sign in name.strip().lower() if sign.isalnum())[:20]
    return _SERVICES.get(plain, plain)
