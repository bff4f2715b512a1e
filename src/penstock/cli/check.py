"""penstock check: is it listed? Works without any set-up."""

from __future__ import annotations

import asyncio
import csv
import ipaddress
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer
from msgspec import Struct, field
from publicsuffixlist import PublicSuffixList
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from penstock.cli.lists import ListsFile, choices, settings_if_any
from penstock.cli.output import err, fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened
from penstock.clients.dns import Resolver, ResolverSettings, servers_of
from penstock.clients.dnsbl import Found, Lists, Target, sort_of, target_of
from penstock.clients.hosts import ReverseName, addresses_of, reverse_name
from penstock.config import Settings
from penstock.lists.catalogue import BlockList, chosen_lists
from penstock.overview import when
from penstock.protocols.dnsbl import Answer, Clear, Listed, addresses, to_ascii
from penstock.sending import Listing, Severity
from penstock.store.ports import StoreUnavailable

CLEAN, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
"""Exit statuses as Nagios' plugins have them."""
_MOST_EXAMPLES = 3
_MOST_REVERSE = 1024


class Row(Struct, frozen=True):
    """One listing, with all that helps."""

    target: str
    list: str
    zone: str
    severity: Severity
    codes: tuple[str, ...]
    meanings: tuple[str, ...]
    text: str
    since: float
    """When the monitor first saw it; 0 where it does not know."""
    delist: str
    causes: str


class Silent(Struct):
    """What one list could not, or would not, say."""

    list: str
    zone: str
    why: str
    count: int = 0
    examples: tuple[str, ...] = ()


class Report(Struct):
    """What a check found."""

    targets: int = 0
    asked: int = 0
    clear: int = 0
    listings: list[Row] = []
    unknown: list[Silent] = []
    hosts: list[ReverseName] = []
    unresolved: list[str] = []
    """Names that have no address, or whose addresses nobody could tell."""
    took_s: float = 0.0

    @property
    def status(self) -> int:
        """The exit status."""
        gravest = max((row.severity.rank for row in self.listings), default=0)
        if gravest >= Severity.MEDIUM.rank:
            return CRITICAL
        if gravest or (self.unknown and self.clear) or (self.unresolved and self.asked):
            return WARNING
        return UNKNOWN if self.unknown or self.unresolved else CLEAN


class _Work(Struct):
    """What a scan gathers: nothing for what is clear, little for what is unknown."""

    clear: int = 0
    listed: list[tuple[BlockList, Target, Answer]] = field(default_factory=list)
    unknown: dict[str, Silent] = field(default_factory=dict)
    done: int = 0

    def seen(self, one: BlockList, target: Target, answer: Answer) -> None:
        """One answer."""
        self.done += 1
        if isinstance(answer, Clear):
            self.clear += 1
        elif isinstance(answer, Listed):
            self.listed.append((one, target, answer))
        else:
            silent = self.unknown.setdefault(one.name, Silent(one.name, one.zone or one.key_zone, answer.why))
            silent.count += 1
            if len(silent.examples) < _MOST_EXAMPLES:
                silent.examples += (str(target),)


def check(
    targets: Annotated[list[str], typer.Argument(help="IPs, networks (192.0.2.0/24) and names.", show_default=False)],
    resolver: Annotated[str, typer.Option(help="HOST:PORT of a recursive resolver; else the system's.")] = "",
    lists: ListsFile = None,
    deadline: Annotated[float, typer.Option(min=1, help="Seconds after which the rest is unknown.")] = 3600.0,
    json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One line a listing, for spreadsheets.")] = False,
    config: Config = None,
) -> None:
    """Ask the blocklists about IPs, networks and names.

    Exit status as for Nagios: 0 clean, 1 listed of low severity or something unknown, 2 listed, 3 nothing was told.
    """
    settings = settings_if_any(config)
    try:
        chosen = chosen_lists(*choices(settings, lists))
        asked = resolver or (settings.blocklists.resolver if settings else "")
        servers = servers_of(asked)
        plan = _Plan(targets)
    except (OSError, ValueError) as trouble:
        fail(str(trouble), UNKNOWN)
    if not chosen:
        fail("no list is left to ask; `penstock lists` shows which are turned off", UNKNOWN)
    try:
        report = asyncio.run(_check(plan, chosen, servers, deadline, settings))
    except OSError as trouble:
        fail(f"the resolver cannot be asked: {trouble}", UNKNOWN)
    if json:
        show_json({**_plain(report), "status": report.status})
    elif as_csv:
        _write_csv(report)
    else:
        _show(report)
    raise typer.Exit(report.status)


class _Plan:
    """What to check. Networks stay networks, so that a /16 takes no memory."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Raises ValueError for what is neither an address, a network nor a name."""
        self.networks = list[str]()
        self.names = list[str]()
        for text in texts:
            try:
                self.networks.append(str(ipaddress.ip_network(text, strict=False)))
            except ValueError:
                if "/" in text:
                    raise ValueError(f'"{text}" is no network; write e.g. 192.0.2.0/24 or 2001:db8::/120') from None
                self.names.append(to_ascii(text))
        self.domains = self._domains()

    def _domains(self) -> list[str]:
        suffixes = PublicSuffixList()
        found = dict[str, None]()
        for name in self.names:
            found[name] = None
            registrable = suffixes.privatesuffix(name)
            if registrable:
                found[registrable] = None
        return list(found)

    def targets(self) -> Iterator[Target]:
        """Every target, one after another."""
        for network in self.networks:
            yield from addresses(network)
        yield from self.domains

    def count(self, one: BlockList) -> int:
        """How many of them a list is asked for."""
        total = len(self.domains) if one.takes("domain") else 0
        for text in self.networks:
            network = ipaddress.ip_network(text)
            total += network.num_addresses if one.takes("ipv4" if network.version == 4 else "ipv6") else 0
        return total

    async def resolve(self, resolver: Resolver, report: Report) -> None:
        """Names lead to their addresses, which are checked too."""
        for name in self.names:
            found, is_known = await addresses_of(resolver, name)
            self.networks += [str(one) for one in found if str(one) not in self.networks]
            if not found or not is_known:
                report.unresolved.append(name)

    def singles(self) -> list[str]:
        """Addresses that were named one by one."""
        nets = (ipaddress.ip_network(text) for text in self.networks)
        return [str(net.network_address) for net in nets if net.num_addresses == 1]


async def _check(
    plan: _Plan,
    chosen: list[BlockList],
    servers: tuple[tuple[str, int], ...],
    deadline_s: float,
    settings: Settings | None,
) -> Report:
    began, report, work = time.monotonic(), Report(), _Work()
    async with Resolver(ResolverSettings(servers)) as resolver:
        lists = Lists(resolver, chosen)
        await plan.resolve(resolver, report)
        total = sum(map(plan.count, chosen))
        late = await _scan(lists, plan, work, total, deadline_s)
        known = await _known_since(settings)
        found = await asyncio.gather(*(lists.found(one, target, answer) for one, target, answer in work.listed))
        rows = [_row(one, known) for one in found]
        report.listings = sorted(rows, key=lambda row: (-row.severity.rank, row.target, row.list))
        singles = dict.fromkeys(
            [*plan.singles(), *(r.target for r in rows if sort_of(target_of(r.target)) != "domain")]
        )
        hosts = (reverse_name(resolver, ipaddress.ip_address(one)) for one in list(singles)[:_MOST_REVERSE])
        report.hosts = list(await asyncio.gather(*hosts))
    report.targets = len(plan.domains) + sum(ipaddress.ip_network(one).num_addresses for one in plan.networks)
    report.asked, report.clear, report.unknown = total, work.clear, sorted(work.unknown.values(), key=lambda s: s.list)
    if late:
        report.unknown.append(Silent("-", "-", f"not asked within {deadline_s:g} s", total - work.done))
    report.took_s = round(time.monotonic() - began, 2)
    return report


async def _scan(lists: Lists, plan: _Plan, work: _Work, total: int, deadline_s: float) -> bool:
    """Ask, with a bar where a person looks on; whether time ran out."""
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("asking", total=total)

        async def tell() -> None:
            while True:
                progress.update(task, completed=work.done)
                await asyncio.sleep(0.1)

        telling = asyncio.create_task(tell())
        try:
            async with asyncio.timeout(deadline_s):
                await lists.scan(plan.targets, work.seen)
        except TimeoutError:
            return True
        finally:
            telling.cancel()
    return False


async def _known_since(settings: Settings | None) -> dict[tuple[str, str], Listing]:
    """What the monitor knows of earlier; nothing where there is no store."""
    if settings is None or (not settings.store.valkey and not settings.store.path.exists()):
        return {}
    try:
        async with opened(settings) as service:
            return {(one.target, one.list): one for one in await service.store.listings()}
    except (StoreUnavailable, OSError) as trouble:
        err.print(f"since when cannot be told: {trouble}", highlight=False, markup=False)
        return {}


def _row(found: Found, known: dict[tuple[str, str], Listing]) -> Row:
    one = found.list
    earlier = known.get((found.target, one.name))
    codes = found.answer.codes if isinstance(found.answer, Listed) else ()
    return Row(
        found.target, one.name, one.zone or one.key_zone, found.severity, codes, found.meanings, found.text,
        earlier.since if earlier else 0.0, one.delist, one.causes,
    )  # fmt: skip


def _plain(report: Report) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__struct_fields__}


def _write_csv(report: Report) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(Row.__struct_fields__)
    for row in report.listings:
        since = when(row.since) if row.since else ""
        plain = (" ".join(row.codes), "; ".join(row.meanings), row.text, since, row.delist, row.causes)
        writer.writerow((row.target, row.list, row.zone, row.severity.value, *plain))


def _show(report: Report) -> None:
    if report.hosts:
        rows = [(host.address, ", ".join(host.names) or "-", _confirmed(host)) for host in report.hosts]
        show_table(("address", "name (PTR)", "leads back"), rows)
        out.print()
    columns = ("target", "list", "severity", "code", "meaning", "since (UTC)")
    rows_listed = [
        (r.target, r.list, r.severity, " ".join(r.codes), "; ".join(r.meanings) or "-", when(r.since))
        for r in report.listings
    ]
    show_table(columns, rows_listed, empty="not listed")
    for name in dict.fromkeys(row.list for row in report.listings):
        row = next(one for one in report.listings if one.list == name)
        out.print(f"\n[bold]{name}[/bold] {row.zone}", highlight=False)
        for what, text in (("says", row.text), ("usual causes", row.causes), ("get off at", row.delist)):
            if text:
                out.print(f"  {what}: {text}", highlight=False, markup=False)
    if report.unknown:
        out.print()
        unknown = [(one.list, one.zone, one.count, one.why) for one in report.unknown]
        show_table(("unknown at", "zone", "targets", "why"), unknown)
    for name in report.unresolved:
        out.print(f"{name}: no address found", highlight=False, markup=False)
    said = f"{report.targets} targets, {report.asked} questions, {report.clear} clear, {len(report.listings)} listed"
    out.print(f"[dim]{said}, {sum(one.count for one in report.unknown)} unknown, {report.took_s:.1f} s[/dim]")


def _confirmed(host: ReverseName) -> str:
    if not host.is_known:
        return "unknown"
    return "yes" if host.confirmed else "no"
