"""penstock doctor: is everything as it must be, and if not, what to do."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import time
from collections.abc import AsyncIterator

import typer

from penstock.cli.doctor_ips import sending_ips
from penstock.cli.output import Check, out, show_json
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.clients.scanners.asker import asker_of
from penstock.config import Settings
from penstock.model import Connection, Envelope, Submission
from penstock.service import Service
from penstock.store.ports import DecisionSearch, StoreUnavailable

_EARLIEST = 1_764_547_200.0  # this version is not older than December 2025
_SMALLEST_DISK = 500 * 1024 * 1024


def doctor(json: Json = False, config: Config = None) -> None:
    """Look at listeners, next hop, store, clock, identity, relaying and sending IPs; status 1 where one is bad."""
    checks = run(_all(settings_of(config)))
    if json:
        show_json(checks)
    else:
        signs = {"good": "[green]good[/green]   ", "warning": "[yellow]warning[/yellow]", "bad": "[red]bad[/red]    "}
        for one in checks:
            out.print(f"{signs.get(one.state, 'unknown')}  [bold]{one.name}[/bold]: {one.seen}", highlight=False)
            if one.advice:
                out.print(f"         {one.advice}", highlight=False, markup=False)
    if any(one.state == "bad" for one in checks):
        raise typer.Exit(1)


async def _all(settings: Settings) -> list[Check]:
    checks = [clock(time.time()), *relaying(settings)]
    checks += [one async for one in listeners(settings)]
    try:
        async with opened(settings) as service:
            checks.append(await store(service))
            checks.append(await next_hop(service))
            checks += await scanners(settings)
            checks.append(await identity(service, time.time()))
            checks += await sending_ips(service)
    except StoreUnavailable as trouble:
        checks.append(Check("store", "bad", str(trouble), "Mail is handled as judge.on_failure says until it is back."))
    checks.append(mode(settings))
    return checks


def clock(now: float) -> Check:
    """A clock that is years off breaks every window and every id."""
    if now < _EARLIEST:
        return Check("clock", "bad", f"it says {time.ctime(now)}", "Set the clock; run an NTP client.")
    return Check("clock", "good", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def relaying(settings: Settings) -> list[Check]:
    """Would this be an open relay?"""
    if not (settings.smtp.listen or settings.smtp.listen_tls):
        return [Check("open relay", "good", "the SMTP relay is off")]
    checks = []
    for name, texts in (
        ("smtp.trusted_networks", settings.smtp.trusted_networks),
        ("smtp.forwarding_hosts", settings.smtp.forwarding_hosts),
        ("identity.trusted_hosts", settings.identity.trusted_hosts),
    ):
        wide = [one for one in texts if _is_wide(one)]
        if wide:
            advice = "Strangers could relay or say who they are; name your own hosts only."
            checks.append(Check("open relay", "bad", f"{name} has {', '.join(wide)}", advice))
    if settings.smtp.auth.without_tls:
        advice = "Only for loopback and tests; give smtp.tls.certificate."
        checks.append(Check("passwords", "warning", "AUTH is offered without TLS", advice))
    return checks or [Check("open relay", "good", "only named networks and logins may relay")]


def _is_wide(text: str) -> bool:
    network = ipaddress.ip_network(text)
    if network.is_private and network.version == 4 and network.prefixlen >= 8:
        return False
    return network.prefixlen < (8 if network.version == 4 else 16) or network.prefixlen == 0


async def listeners(settings: Settings) -> AsyncIterator[Check]:
    """Does something answer where Penstock should listen?"""
    for name, section in (("smtp", settings.smtp), ("milter", settings.milter), ("http", settings.http)):
        for address in section.listen:
            try:
                await _connect(address)
            except (OSError, TimeoutError) as trouble:
                yield Check(f"listener {name}", "bad", f"{address}: {trouble or 'no answer'}", "Is `penstock run` up?")
            else:
                yield Check(f"listener {name}", "good", address)


async def _connect(address: str) -> None:
    async with asyncio.timeout(3.0):
        if address.startswith("unix:"):
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host).strip("[]")  # noqa: S104
            _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await writer.wait_closed()


async def scanners(settings: Settings) -> list[Check]:
    """Does each configured scanner answer about a small message?"""
    asker = asker_of(settings, clock=time.monotonic, count=lambda name: None)
    if asker is None:
        return []
    connection = Connection(client_ip="127.0.0.1", helo="localhost", listener="doctor")
    envelope = Envelope("doctor@localhost", ("doctor@localhost",))
    raw = b"From: doctor@localhost\r\nTo: doctor@localhost\r\nSubject: are you there\r\n\r\nPenstock asks.\r\n"
    checks = []
    for one in await asker.ask(Submission("doctor", time.time(), connection, envelope, raw)):
        if one.trouble:
            advice = "Mail is judged without it until it answers."
            checks.append(Check(f"scanner {one.scanner}", "warning", one.trouble, advice))
        else:
            seen = "answers" if one.score is None else f"answers, {one.score:.1f} of {one.required:.1f}"
            checks.append(Check(f"scanner {one.scanner}", "good", seen))
    return checks


async def store(service: Service) -> Check:
    """Does the store answer, and is there room?"""
    counts = await service.store.counts()
    seen = ", ".join(f"{count} {name}" for name, count in counts.items())
    folder = service.settings.store.path.parent
    if not service.settings.store.valkey and shutil.disk_usage(folder).free < _SMALLEST_DISK:
        return Check("store", "warning", seen, f"Less than 500 MB are free in {folder}; held mail needs room.")
    return Check("store", "good", seen)


async def next_hop(service: Service) -> Check:
    """Does the MTA that delivers answer?"""
    if service.next_hop is None:
        advice = "Held mail cannot be released without one; set next_hop.address."
        return Check("next hop", "warning", "none is configured", advice)
    try:
        async with asyncio.timeout(10.0):
            seen = await service.next_hop.check()
    except Exception as trouble:
        return Check(
            "next hop", "bad", f"{service.settings.next_hop.address}: {trouble!r}", "Is it up, and may we connect?"
        )
    return Check("next hop", "good", f"{service.settings.next_hop.address}: {seen}")


async def identity(service: Service, now: float) -> Check:
    """Does the milter see `{auth_authen}`, and how much of the last day's mail has no identity?"""
    rows = await service.store.decisions(DecisionSearch(since=now - 86400.0, limit=500))
    if not rows:
        return Check("identity", "unknown", "no mail in the last day")
    unknown = sum(row.decision.account.kind == "none" for row in rows)
    logins = sum(row.decision.account.kind == "sasl" for row in rows)
    seen = f"of the last {len(rows)} messages {logins} have a login, {unknown} have no identity"
    is_milter = bool(service.settings.milter.listen)
    if is_milter and not logins:
        advice = "Submission over the milter needs {auth_authen} in milter_mail_macros; see the Postfix guide."
        return Check("identity", "warning", seen, advice)
    if unknown * 10 > len(rows):
        return Check("identity", "warning", seen, "Add an extractor or a trusted host in [identity].")
    return Check("identity", "good", seen)


def mode(settings: Settings) -> Check:
    """Does it act?"""
    if settings.judge.mode.value == "observe":
        return Check(
            "mode", "good", "observe: nothing is acted on", 'Set judge.mode = "enforce" when the decisions suit you.'
        )
    return Check("mode", "good", "enforce")
