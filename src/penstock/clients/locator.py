"""Where addresses are: files in MaxMind's format, and lists of known-bad login sources, both optional."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from penstock.attempts import Location
from penstock.clients.dns import Resolver, ResolverSettings, servers_of
from penstock.clients.dnsbl import Lists, sort_of
from penstock.config import Settings
from penstock.lists.catalogue import BlockList, Choice, chosen_lists, read_choice
from penstock.protocols.dnsbl import Address, Listed, Unknown

Record = Mapping[str, Any]


class Locator:
    """Tells where an address is. What does not answer in time, or at all, has said nothing."""

    def __init__(
        self,
        databases: Sequence[Callable[[str], Record | None]],
        lists: Lists | None,
        *,
        deadline_s: float,
        count: Callable[[str], None],
    ) -> None:
        """Each database gives the record of an address; ValueError for what it has no room for (IPv6)."""
        self._databases = databases
        self._lists = lists
        self._deadline_s = deadline_s
        self._count = count

    async def start(self) -> None:
        """Open the resolver's sockets. Raises OSError."""
        if self._lists is not None:
            await self._lists.resolver.start()

    async def close(self) -> None:
        """Let go."""
        if self._lists is not None:
            await self._lists.resolver.close()

    async def locate(self, ip: str) -> Location:
        """What files and lists say of an address. Never raises."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return Location()
        found = Location()
        for record in self._records(ip):
            found = _joined(found, record)
        return replace(found, lists=await self._listed(address)) if self._lists is not None else found

    def _records(self, ip: str) -> Iterator[Record]:
        for database in self._databases:
            try:
                record = database(ip)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record

    async def _listed(self, address: Address) -> tuple[str, ...]:
        assert self._lists is not None
        asked = [one for one in self._lists.lists if one.takes(sort_of(address))]
        tasks = [asyncio.create_task(self._lists.look(one, address)) for one in asked]
        if not tasks:
            return ()
        done, late = await asyncio.wait(tasks, timeout=self._deadline_s)
        for task in late:
            task.cancel()
        answers = [(one.name, task.result()) for one, task in zip(asked, tasks, strict=True) if task in done]
        if late or any(isinstance(answer, Unknown) for _, answer in answers):
            self._count("login-lists-unanswered")
        return tuple(name for name, answer in answers if isinstance(answer, Listed))


def _joined(found: Location, record: Record) -> Location:
    """A location with what one record adds; the names are those of MaxMind's own databases, which others keep to."""
    country, place = _part(record, "country"), _part(record, "location")
    latitude, longitude = place.get("latitude"), place.get("longitude")
    asn, code = record.get("autonomous_system_number"), country.get("iso_code")
    if isinstance(asn, int) and not found.asn:
        found = replace(found, asn=asn)
    if isinstance(code, str) and not found.country:
        found = replace(found, country=code[:8])
    if found.latitude is None and isinstance(latitude, int | float) and isinstance(longitude, int | float):
        found = replace(found, latitude=float(latitude), longitude=float(longitude))
    return found


def _part(record: Record, name: str) -> Record:
    part = record.get(name)
    return part if isinstance(part, dict) else {}


def make_locator(settings: Settings, count: Callable[[str], None]) -> Locator | None:
    """Who knows addresses, as the settings say; None where they name nothing. Raises OSError and ValueError with the
    setting that is at fault."""
    section = settings.logins
    if not section.databases and not section.lists:
        return None
    databases = [open_database(path) for path in section.databases]
    lists = None
    if section.lists:
        resolver = Resolver(ResolverSettings(servers_of(settings.blocklists.resolver), timeout_s=section.lists_s))
        lists = Lists(resolver, _chosen(settings))
    return Locator(databases, lists, deadline_s=section.lists_s, count=count)


def open_database(path: Path) -> Callable[[str], Record | None]:
    """A file in MaxMind's format, asked for the record of an address. Raises OSError and ValueError."""
    try:
        import maxminddb  # an extra
    except ImportError:
        raise ValueError("logins.databases needs the extra `geo`: pip install 'penstock[geo]'") from None
    try:
        reader = maxminddb.open_database(str(path))
    except maxminddb.InvalidDatabaseError as trouble:
        raise ValueError(f"logins.databases: {path}: {trouble}") from None
    return cast(Callable[[str], Record | None], reader.get)


def _chosen(settings: Settings) -> list[BlockList]:
    """The lists that are named for logins, with the operator's keys."""
    section, names = settings.blocklists, settings.logins.lists
    own = [read_choice(section.lists_file.read_text("utf-8"))] if section.lists_file is not None else []
    known = chosen_lists(*own, Choice(enable=names, keys=section.keys))
    found = [one for one in known if one.name in names]
    missing = sorted(set(names) - {one.name for one in found})
    if missing:
        raise ValueError(f"logins.lists: {', '.join(missing)} cannot be asked: dead, or without a key")
    return found
