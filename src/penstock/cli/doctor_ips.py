"""penstock doctor, per sending IP: PTR and its confirmation, EHLO, SPF, whether this host has it, listings."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable

from penstock.building import make_pools
from penstock.cli.output import Check
from penstock.clients.dns import Resolver, ResolverSettings, servers_of
from penstock.clients.hosts import addresses_of, reverse_name
from penstock.clients.spf import includes
from penstock.config import Settings
from penstock.protocols.dnsbl import Address
from penstock.sending import Listing, SendingIp
from penstock.service import Service


async def sending_ips(service: Service) -> list[Check]:
    """All checks of all sending IPs, asked together."""
    pools = make_pools(service.settings.pools).named
    ips = [(name, ip) for name, pool in pools.items() for ip in pool.ips]
    if not ips:
        return []
    listings = await service.store.listings()
    resolver = ResolverSettings(servers_of(service.settings.blocklists.resolver), timeout_s=1.5, tries=2)
    async with Resolver(resolver) as asked:
        found = await asyncio.gather(*(_ip(asked, service.settings, name, ip, listings) for name, ip in ips))
    return [check for checks in found for check in checks]


async def _ip(
    resolver: Resolver, settings: Settings, pool: str, one: SendingIp, listings: list[Listing]
) -> list[Check]:
    checks: list[Check] = []
    for text in filter(None, (one.ip, one.ip6)):
        address, name = ipaddress.ip_address(text), f"{pool} {text}"
        checks.append(on_this_host(name, text))
        checks += await _names(resolver, name, one.helo, address)
        checks += await _spf(resolver, settings, name, one.helo, address)
        checks.append(listed(name, [row for row in listings if row.target == text and not row.until]))
    return checks


def on_this_host(name: str, text: str, bind: Callable[[str], None] | None = None) -> Check:
    """Is the address configured here, so that Postfix can send from it?"""
    try:
        (bind or _bind)(text)
    except OSError as trouble:
        if trouble.errno != errno.EADDRNOTAVAIL:
            return Check(f"{name} address", "unknown", str(trouble))
        advice = "Add it to an interface of the host that delivers; ignore this where that is another host."
        return Check(f"{name} address", "warning", "not configured on this host", advice)
    return Check(f"{name} address", "good", "configured on this host")


def _bind(text: str) -> None:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((text, 0))


async def _names(resolver: Resolver, name: str, helo: str, address: Address) -> list[Check]:
    found = await reverse_name(resolver, address)
    if not found.is_known:
        return [Check(f"{name} PTR", "unknown", "no answer from the resolver")]
    if not found.names:
        advice = "Ask whoever gave you the address for a PTR record; without one Gmail and others refuse."
        return [Check(f"{name} PTR", "bad", "there is none", advice)]
    seen = ", ".join(found.names)
    if not found.confirmed:
        return [
            Check(f"{name} PTR", "bad", f"{seen}, which does not lead back", f"Let {found.names[0]} have {address}.")
        ]
    checks = [Check(f"{name} PTR", "good", f"{', '.join(found.confirmed)}, confirmed")]
    if not helo:
        advice = "Set `helo`, so that each IP says its own name."
        return [*checks, Check(f"{name} HELO", "warning", "the MTA's own name is said", advice)]
    own, is_known = await addresses_of(resolver, helo)
    if not is_known:
        return [*checks, Check(f"{name} HELO", "unknown", f"no answer for {helo}")]
    if address not in own:
        return [*checks, Check(f"{name} HELO", "bad", f"{helo} does not resolve to it", f"Let {helo} have {address}.")]
    if helo.lower() not in {one.lower().rstrip(".") for one in found.confirmed}:
        return [
            *checks,
            Check(f"{name} HELO", "warning", f"{helo}, but its PTR is {seen}", "Let both say the same name."),
        ]
    return [*checks, Check(f"{name} HELO", "good", helo)]


async def _spf(resolver: Resolver, settings: Settings, name: str, helo: str, address: Address) -> list[Check]:
    checks = []
    for domain in settings.pools.spf_domains or ([helo] if helo else []):
        found = await includes(resolver, domain, address)
        state = {True: "good", False: "bad", None: "warning"}[found.is_included]
        advice = "" if found.is_included else f"Add it to the SPF record: ip{address.version}:{address}"
        checks.append(Check(f"{name} SPF", state, found.detail, advice))
    return checks


def listed(name: str, rows: list[Listing]) -> Check:
    """Is it on a list, as far as the monitor and receivers' replies have told?"""
    if not rows:
        return Check(f"{name} listings", "good", "none known")
    worst = max(rows, key=lambda row: row.severity.rank)
    state = "bad" if worst.severity.rank >= 3 else "warning" if worst.severity.rank else "good"
    seen = ", ".join(f"{row.list} ({row.severity})" for row in rows)
    return Check(f"{name} listings", state, seen, "`penstock cases list` and `penstock check` say more.")
