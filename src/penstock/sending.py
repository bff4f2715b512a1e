"""The frozen records of where mail leaves from: sending IPs and their state, pins, listings, cases. Values only, beside
`model`; times are Unix seconds."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class SendingIp(Struct, frozen=True):
    """One address that mail leaves from, with its IPv6 companion where it has one."""

    ip: str
    ip6: str = ""
    helo: str = ""
    """The name said in EHLO; empty means the MTA's own."""
    warming_since: float = 0.0
    """Midnight UTC of the first day of its warm-up; 0 where it is warm."""


class IpState(Struct, frozen=True):
    """Whether a sending IP is used, who said so, and how near it is to coming back."""

    ip: str
    pool: str
    state: str
    """`active` or `drained`; an IP without a state is active."""
    since: float
    who: str = "penstock"
    """`penstock`, or the person who drained it; what a person drains only a person brings back."""
    reason: str = ""
    clean_checks: int = 0
    """Checks in a row that found it clean."""
    clean_since: float = 0.0


class Pin(Struct, frozen=True):
    """A person's word about which pool an account uses, before the table of choices."""

    account: str
    pool: str
    at: float
    who: str
    ip: str = ""
    """One IP of that pool; empty leaves the choice to the account's usual one."""
    until: float = 0.0
    """When it ends; 0 for a pin that stays."""
    reason: str = ""


class Suspect(Struct, frozen=True):
    """An account that used an IP before it was listed, and what speaks for its being the cause."""

    account: str
    blame: float
    """Its share of the whole, 0 to 1; all suspects of a case add up to 1 at most."""
    messages: int
    recipients: int
    reasons: tuple[str, ...] = ()
    """What counts against it, strongest first."""
    decisions: tuple[str, ...] = ()
    """Ids of the messages that show it, worst first."""


class Case(Struct, frozen=True):
    """One IP that was listed or blocked: where, since when, who is to blame, what was done, until it is clean."""

    id: str
    ip: str
    pool: str
    opened_at: float
    began_at: float
    """Start of the window in which the accounts that used the IP were looked for."""
    lists: tuple[str, ...]
    suspects: tuple[Suspect, ...] = ()
    """Most to blame first."""
    closed_at: float = 0.0
    closed_by: str = ""
    reason: str = ""
    """Why it was closed."""


class Severity(StrEnum):
    """How much a listing hurts delivery."""

    NONE = "none"
    """Said, but no offence: policy entries such as the PBL, or information."""
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place in the order, 0 for none."""
        return list(Severity).index(self)


class Listing(Struct, frozen=True):
    """One address, network or domain on one list, from the check that first saw it there to the one that did not."""

    target: str
    """An IP address or a domain, in its usual spelling."""
    list: str
    """The list's name in the catalogue, or `receiver:NAME` where replies of a receiver say that it blocks."""
    since: float
    """When it was first seen listed. It may have been listed before that."""
    last_seen: float
    until: float = 0.0
    """When it was first seen clear again; 0 while it is listed."""
    codes: tuple[str, ...] = ()
    """The answers, e.g. `127.0.0.2`, or tags of a reply."""
    meanings: tuple[str, ...] = ()
    """What the list says that the codes mean, as far as the catalogue knows."""
    text: str = ""
    """The list's TXT record, or the receiver's reply."""
    severity: Severity = Severity.MEDIUM


class ListingChange(Struct, frozen=True):
    """One change of a listing. The store numbers changes in the order in which they become visible."""

    at: float
    what: str
    """`listed`, `changed` (other codes) or `cleared`."""
    listing: Listing
    """The listing after the change."""
    before: tuple[str, ...] = ()
    """The codes before it."""
    is_baseline: bool = False
    """Whether it was found by the first look at the target, so that nobody is told."""
    number: int = 0
    """Grows with every change; 0 until it is stored."""
