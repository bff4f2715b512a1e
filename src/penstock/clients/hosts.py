"""What DNS says of hosts: their addresses, their names, and whether the names lead back."""

from __future__ import annotations

import asyncio
import ipaddress

from msgspec import Struct

from penstock.clients.dns import Resolver
from penstock.protocols.dns_wire import Kind
from penstock.protocols.dnsbl import Address, Rcode

_MOST_NAMES = 8


class ReverseName(Struct, frozen=True):
    """An address's names, and those of them that resolve to it again."""

    address: str
    names: tuple[str, ...]
    confirmed: tuple[str, ...]
    is_known: bool = True
    """False where nobody answered, so that nothing can be said."""


async def addresses_of(resolver: Resolver, name: str) -> tuple[list[Address], bool]:
    """A name's IPv4 and IPv6 addresses, and whether somebody answered at all."""
    replies = await asyncio.gather(resolver.ask(name, Kind.A), resolver.ask(name, Kind.AAAA))
    found = [ipaddress.ip_address(value) for reply in replies for value in reply.values if value]
    return found, all(reply.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN) for reply in replies)


async def reverse_name(resolver: Resolver, address: Address) -> ReverseName:
    """An address's PTR records with forward confirmation (RFC 8601 2.7.3, `iprev`)."""
    reply = await resolver.ask(address.reverse_pointer, Kind.PTR)
    if reply.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return ReverseName(str(address), (), (), False)
    confirmed = list[str]()
    for name in reply.values[:_MOST_NAMES]:
        try:
            found, _ = await addresses_of(resolver, name)
        except ValueError:
            continue
        if address in found:
            confirmed.append(name)
    return ReverseName(str(address), reply.values[:_MOST_NAMES], tuple(confirmed))
