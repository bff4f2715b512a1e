"""Does a domain's SPF record include an address (RFC 7208)? As far as one's own records go: no macros."""

from __future__ import annotations

import ipaddress

from msgspec import Struct

from penstock.clients.dns import Resolver
from penstock.clients.hosts import addresses_of
from penstock.protocols.dns_wire import Kind
from penstock.protocols.dnsbl import Address, Rcode

_MOST_LOOKUPS = 10
"""RFC 7208 4.6.4: what needs more is a permanent error for every receiver."""


class Spf(Struct, frozen=True):
    """What a domain's record says of an address."""

    is_included: bool | None
    """None where nothing can be said: no answer, no record, too many lookups."""
    detail: str


class _Trouble(Exception):
    """Why nothing can be said."""


async def includes(resolver: Resolver, domain: str, address: Address) -> Spf:
    """Whether the record passes the address. Never raises."""
    budget = [_MOST_LOOKUPS]
    try:
        found = await _evaluate(resolver, domain, address, budget)
    except (_Trouble, ValueError) as trouble:
        return Spf(None, f"{domain}: {trouble}")
    if found is None:
        return Spf(None, f"{domain} has no SPF record")
    return Spf(found == "+", f"{domain}: {'includes it' if found == '+' else 'does not include it'}")


async def _evaluate(resolver: Resolver, domain: str, address: Address, budget: list[int]) -> str | None:
    """The qualifier of the first mechanism that matches, `?` for none; None without a record."""
    reply = await resolver.ask(domain, Kind.TXT)
    if reply.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        raise _Trouble("no answer")
    records = [one for one in reply.values if one.lower().split(" ", 1)[0] == "v=spf1"]
    if not records:
        return None
    redirect = ""
    for term in records[0].split()[1:]:
        if term.lower().startswith("redirect="):
            redirect = term.partition("=")[2]
            continue
        qualifier = term[0] if term[0] in "+-~?" else "+"
        if await _matches(resolver, term.lstrip("+-~?"), domain, address, budget):
            return qualifier
    if redirect:
        _spend(budget)
        return await _evaluate(resolver, redirect, address, budget)
    return "?"


async def _matches(resolver: Resolver, term: str, domain: str, address: Address, budget: list[int]) -> bool:
    name, _, value = term.partition(":")
    name = name.lower()
    if "%" in term:
        raise _Trouble(f"macros are not read: {term}")
    if name == "all":
        return True
    if name in ("ip4", "ip6"):
        return address in ipaddress.ip_network(value, strict=False)
    if name == "include":
        _spend(budget)
        return await _evaluate(resolver, value, address, budget) == "+"
    kind, _, rest = name.partition("/")
    if kind not in ("a", "mx"):
        return False
    _spend(budget)
    host, _, own = value.partition("/")
    lengths = (own if value else rest).split("//")
    hosts = [host or domain]
    if kind == "mx":
        hosts = [one.split()[-1] for one in (await resolver.ask(hosts[0], Kind.MX)).values]
    found = [one for host in hosts[:_MOST_LOOKUPS] for one in (await addresses_of(resolver, host))[0]]
    length = lengths[0] if address.version == 4 else lengths[-1] if len(lengths) > 1 else ""
    size = f"/{length}" if length else ""
    own_kind = [one for one in found if one.version == address.version]
    return any(address in ipaddress.ip_network(f"{one}{size}", strict=False) for one in own_kind)


def _spend(budget: list[int]) -> None:
    budget[0] -= 1
    if budget[0] < 0:
        raise _Trouble(f"more than {_MOST_LOOKUPS} lookups")
