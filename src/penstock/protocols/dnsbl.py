"""DNS blocklists (RFC 5782): which names to ask, what an answer means, and whether the list itself can be believed.

A list is asked by name: the reversed address, or a domain, in front of its zone. An address record says *listed* and
its value why; no such name says *clear*. Everything else is *unknown*, and so is every answer of a list that fails its
own test points: an error code must never become a listing, nor a dead list a clean bill.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from enum import StrEnum

import idna
from msgspec import Struct

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LISTED_AT = ipaddress.ip_network("127.0.0.0/8")
_REFUSED_AT = ipaddress.ip_network("127.255.255.0/24")
# Spamhaus' own, since taken up by others (docs.spamhaus.com, "Return codes").
_REFUSALS = {
    "127.255.255.252": "the query was malformed",
    "127.255.255.254": "it was asked through a public resolver",
    "127.255.255.255": "this resolver asks too much",
}


class Rcode(StrEnum):
    """How a resolver's reply ended."""

    NOERROR = "noerror"
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    OTHER = "other"


class Reply(Struct, frozen=True):
    """A resolver's reply: values of the type that was asked, and how long they may be kept."""

    rcode: Rcode
    values: tuple[str, ...] = ()
    ttl_s: int = 0


class Listed(Struct, frozen=True):
    """The list has it."""

    codes: tuple[str, ...]
    """The answers within 127.0.0.0/8, sorted."""


class Clear(Struct, frozen=True):
    """The list does not have it."""


class Trouble(StrEnum):
    """Why nobody can tell."""

    SILENT = "silent"
    """No answer, or none that makes sense."""
    BLOCKED = "blocked"
    """The list refuses to answer us."""
    FOREIGN = "foreign"
    """The answer is not a list's: a parked zone, or a resolver that rewrites."""


class Unknown(Struct, frozen=True):
    """Nobody can tell."""

    trouble: Trouble
    why: str


Answer = Listed | Clear | Unknown


def name_of_address(address: Address, zone: str) -> str:
    """The name to ask: reversed octets (RFC 5782 2.1) or nibbles (2.4) in front of the zone."""
    return f"{reversed_address(address)}.{zone}"


def reversed_address(address: Address) -> str:
    """The part of that name in front of the zone."""
    return address.reverse_pointer.rpartition(".")[0].rpartition(".")[0]


def name_of_domain(domain: str, zone: str) -> str:
    """The name to ask for a domain (RFC 5782 3). Raises ValueError for what is no domain."""
    name = to_ascii(domain)
    whole = f"{name}.{zone}"
    if len(whole) > 253:
        raise ValueError(f'"{domain}" is too long to be asked for at {zone}')
    return whole


def to_ascii(domain: str) -> str:
    """A domain as DNS spells it, lower case, without the last dot. Raises ValueError for what is no domain."""
    text = domain.strip().rstrip(".").lower()
    try:
        # Not only letters and digits: names such as `_dmarc.example.com` are asked for too.
        name = text if text.isascii() else idna.encode(text, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as trouble:
        raise ValueError(f'"{domain}" is no domain: {trouble}') from None
    labels = name.split(".")
    if not all(0 < len(one) < 64 and all(33 <= ord(c) < 127 and c not in "@/\\" for c in one) for one in labels):
        raise ValueError(f'"{domain}" is no domain')
    return name


def addresses(text: str) -> Iterator[Address]:
    """Every address of an address or network, one after another, never all at once. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    first = int(network.network_address)
    make = type(network.network_address)
    return (make(first + number) for number in range(network.num_addresses))


class Dialect(Struct, frozen=True):
    """How one list's answers differ from the rule."""

    refusals: Mapping[str, str] = {}
    """Codes by which it says that it does not answer us, and what each means."""
    not_listed: frozenset[str] = frozenset()
    """Codes that say something, but no listing: an allow list's in a mixed zone."""


_PLAIN = Dialect()
_SILENCE = {
    Rcode.TIMEOUT: "no answer in time",
    Rcode.SERVFAIL: "the list's servers cannot be reached, or are broken (SERVFAIL)",
    Rcode.OTHER: "the resolver's answer makes no sense",
}


def read(reply: Reply, dialect: Dialect = _PLAIN) -> Answer:
    """What a list's reply to an A question means."""
    if reply.rcode is Rcode.REFUSED:
        return Unknown(Trouble.BLOCKED, "the question was refused (REFUSED)")
    if reply.rcode in _SILENCE:
        return Unknown(Trouble.SILENT, _SILENCE[reply.rcode])
    if reply.rcode is Rcode.NXDOMAIN:
        return Clear()
    codes = set[str]()
    for value in reply.values:
        if value in dialect.refusals:
            return Unknown(Trouble.BLOCKED, f"the list does not answer: {dialect.refusals[value]} ({value})")
        if value in dialect.not_listed:
            continue
        trouble = _trouble(value)
        if trouble is not None:
            return trouble
        codes.add(value)
    # A name without an address is there for the sake of names below it: that is no listing either.
    return Listed(tuple(sorted(codes, key=ipaddress.IPv4Address))) if codes else Clear()


def _trouble(value: str) -> Unknown | None:
    """What is wrong with an answer; None where it may be a listing."""
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return Unknown(Trouble.FOREIGN, "the answer holds no address")
    if address not in _LISTED_AT:
        why = f"{value} is outside 127.0.0.0/8: the zone is parked, or the resolver rewrites answers"
        return Unknown(Trouble.FOREIGN, why)
    if address in _REFUSED_AT:
        why = _REFUSALS.get(value, "it reports an error")
        return Unknown(Trouble.BLOCKED, f"the list does not answer: {why} ({value})")
    if value == "127.0.0.1":  # RFC 5782 2.1 keeps it free, so something else speaks
        return Unknown(Trouble.FOREIGN, "127.0.0.1 is no listing")
    return None


# Whether a list can be believed.


class Health(StrEnum):
    """What its test points say of a list (RFC 5782 5)."""

    GOOD = "good"
    LISTS_THE_WORLD = "lists-the-world"
    """What must never be listed is: the list was shut down the rude way, or the zone is parked."""
    LISTS_NOTHING = "lists-nothing"
    """What must always be listed is not: emptied, or not what it was."""
    DEAD = "dead"
    """No answer, or none that makes sense."""
    BLOCKED = "blocked"
    """The list refuses us: a public resolver, too many queries, no key."""
    UNTESTED = "untested"
    """It is known to have no test points, and does not list what must not be listed."""


class Canaries(Struct, frozen=True):
    """Names to ask before a list is believed: what must be listed, and what must not."""

    listed: str
    clear: str


def canaries(zone: str, of: str, test: str = "") -> Canaries:
    """A zone's test points for `ipv4`, `ipv6` or `domain` (RFC 5782 5); `test` is what it always lists instead."""
    match of:
        case "ipv4":
            listed, clear = "2.0.0.127", "1.0.0.127"
        case "ipv6":
            # ::FFFF:7F00:2 and ::FFFF:7F00:1
            listed, clear = (
                ipaddress.IPv6Address(f"::ffff:7f00:{last}").reverse_pointer.removesuffix(".ip6.arpa")
                for last in (2, 1)
            )
        case _:
            listed, clear = "test", "invalid"
    return Canaries(f"{test or listed}.{zone}", f"{clear}.{zone}")


def judge(listed: Answer, clear: Answer, *, has_test_point: bool = True) -> tuple[Health, str]:
    """A list's health from the answers to its two test points, and why in words."""
    if isinstance(clear, Listed):
        return Health.LISTS_THE_WORLD, f"it lists what must never be listed ({', '.join(clear.codes)})"
    for one in (clear, listed) if has_test_point else (clear,):
        if isinstance(one, Unknown):
            return _SICK[one.trouble], one.why
    if not has_test_point:
        return Health.UNTESTED, "it has no test point"
    if isinstance(listed, Clear):
        return Health.LISTS_NOTHING, "its test point, which is always listed, is not"
    return Health.GOOD, ""


_SICK = {
    Trouble.SILENT: Health.DEAD,
    Trouble.BLOCKED: Health.BLOCKED,
    Trouble.FOREIGN: Health.LISTS_THE_WORLD,
}


def believed(answer: Answer, health: Health, why: str) -> Answer:
    """An answer in the light of its list's health: only a sound list's word counts."""
    if health in (Health.GOOD, Health.UNTESTED):
        return answer
    return Unknown(_SICKNESS[health], f"{health.value}: {why}")


_SICKNESS = {
    Health.LISTS_THE_WORLD: Trouble.FOREIGN,
    Health.LISTS_NOTHING: Trouble.SILENT,
    Health.DEAD: Trouble.SILENT,
    Health.BLOCKED: Trouble.BLOCKED,
}
