"""The people who may see and steer, the secrets that open the console in their names, and counts made for them."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Role(StrEnum):
    """What somebody may do; each may all that the one before it may."""

    READ = "read"
    DESK = "desk"
    """Steers accounts, held mail, pools and cases."""
    ADMIN = "admin"
    """Sees the settings and the audit of people too."""

    def covers(self, other: Role) -> bool:
        """Whether what `other` may is among it."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class SecurityKey(Struct, frozen=True):
    """A security key or passkey (WebAuthn) that is somebody's second factor."""

    name: str
    """What its owner calls it."""
    credential: bytes
    """Attested credential data (WebAuthn section 6.5.1): an id and a public key; nothing secret."""
    counter: int
    """Signatures that it had made when it was last used; 0 for one that does not count."""
    added_at: float
    used_at: float = 0.0


class Person(Struct, frozen=True):
    """Somebody who may log in at the console."""

    name: str
    role: Role
    password: str
    """argon2id, in its own text form; empty for who comes in by single sign-on alone."""
    tenant: str = ""
    """Sees and steers this tenant's accounts alone; empty means all."""
    totp: str = ""
    """Base32 secret of the second factor (RFC 6238); empty where there is none."""
    added_at: float = 0.0
    subject: str = ""
    """Issuer and subject, with a space between, of whom single sign-on knows them by; empty until the first time."""
    security_keys: tuple[SecurityKey, ...] = ()
    """Each is a second factor, beside or in place of one-time codes."""


class Key(Struct, frozen=True):
    """A secret that opens the console in somebody's name, a browser's session or a program's token; only its digest is
    kept."""

    digest: str
    kind: str
    """`session` or `token`."""
    person: str
    role: Role
    """It opens no more than this, nor more than its person may."""
    made_at: float
    until: float = 0.0
    """When it ends; 0 for a token that stays."""
    label: str = ""
    """What a token is for; the address that a session was opened from."""


class Tally(Struct, frozen=True):
    """How many messages of one kind one stretch of time had."""

    start: float
    tenant: str
    account: str
    action: str
    wanted: str
    reason: str
    messages: int
    recipients: int


class Grain(StrEnum):
    """How finely decisions are counted."""

    MINUTES = "minutes"
    """Five minutes of everybody."""
    DAYS = "days"
    """Days (UTC) of everybody."""
    TENANT_DAYS = "tenant-days"
    """Days of each tenant; by account where something else than a plain accept was done or wanted."""

    @property
    def seconds(self) -> int:
        """Its length."""
        return 300 if self is Grain.MINUTES else 86400


class TallySearch(Struct, frozen=True):
    """Which counts; empty fields match everything."""

    grain: Grain
    since: float = 0.0
    until: float = 0.0
    tenant: str = ""
    acted_only: bool = False
    """Only what is counted by account."""
    by_account: bool = False
    """Added up over time and reasons, by account and action wanted, most messages first."""
    limit: int = 5000
