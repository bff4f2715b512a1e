"""Postfix's side of the pools, as files to include: one transport for each sending IP, and how Penstock chooses one.

`milter_header_checks` looks only at headers that a milter added, so nothing that a customer writes chooses a transport.
FILTER changes the transport for all recipients of a message, local ones too, and the last one wins: Penstock writes the
header once, and only where every recipient is remote (postfix: header_checks(5), cleanup_milter.c, qmgr_message.c).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from penstock.config import Settings
from penstock.model import transport_name
from penstock.sections.pools import SendingIpSection

BEGIN, END = "# Penstock's transports: begin (made by `penstock pools postfix`)", "# Penstock's transports: end"
_MADE = "# Made by `penstock pools postfix`; changes here are lost.\n"


class Transport(Struct, frozen=True):
    """One way out."""

    name: str
    options: Mapping[str, str]
    """Parameters of its smtp client."""


def transports(settings: Settings, folder: Path) -> list[Transport]:
    """One for each sending IP, and one for each pool that is only a name."""
    strip = f"regexp:{folder}/penstock_strip"
    found = []
    for name, pool in settings.pools.named.items():
        for one in pool.ips:
            found.append(Transport(transport_name(name, one.ip), {**_addresses(one), "smtp_header_checks": strip}))
        if not pool.ips:
            found.append(Transport(name, {"smtp_header_checks": strip}))
    return found


def _addresses(one: SendingIpSection) -> dict[str, str]:
    """Where it binds. A transport never falls back to an address that is not its own."""
    is_v6 = ":" in one.ip
    options = {"smtp_bind_address6" if is_v6 else "smtp_bind_address": one.ip, "smtp_bind_address_enforce": "yes"}
    if one.ip6:
        options["smtp_bind_address6"] = one.ip6
    else:
        options["inet_protocols"] = "ipv6" if is_v6 else "ipv4"
    if one.helo:
        options["smtp_helo_name"] = one.helo
    return options


def files(settings: Settings, folder: Path) -> dict[str, str]:
    """The files by name; the same settings make the same bytes."""
    ways, header = transports(settings, folder), _literal(settings.pools.header)
    pools = "".join(f"/^{header}: *{_literal(one.name)}$/  FILTER {one.name}:\n" for one in ways)
    return {
        "penstock_master.cf": _MADE + "".join(map(_service, ways)),
        "penstock_main.cf": _MADE + "".join(f"{name} = {value}\n" for name, value in main_lines(settings, folder)),
        "penstock_pools": _MADE + pools,
        "penstock_strip": f"{_MADE}/^{header}:/  IGNORE\n/^X-Penstock-(Unjudged|Uid):/  IGNORE\n",
    }


def _literal(text: str) -> str:
    """A text as a regular expression of Postfix (regexp_table(5)) for itself."""
    return re.sub(r"([].[(){}*+?|^$\\/])", r"\\\1", text)


def main_lines(settings: Settings, folder: Path) -> Iterator[tuple[str, str]]:
    """What main.cf needs beside the milter itself."""
    yield "milter_header_checks", f"regexp:{folder}/penstock_pools"
    if settings.milter.listen:
        address = settings.milter.listen[0]
        place = address if address.startswith("unix:") else f"inet:{address}"
        yield "smtpd_milters", place
        yield "non_smtpd_milters", place


def _service(one: Transport) -> str:
    options = {**one.options, "syslog_name": f"postfix/{one.name}"}
    lines = "".join(f"    -o {name}={value}\n" for name, value in options.items())
    return f"{one.name} unix - - n - - smtp\n{lines}"


def with_block(master: str, block: str) -> str:
    """A master.cf with our transports in their block, which is put at the end where there is none."""
    pattern = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n", re.MULTILINE | re.DOTALL)
    fresh = f"{BEGIN}\n{block}{END}\n"
    if pattern.search(master):
        return pattern.sub(lambda _: fresh, master, count=1)
    return master + ("" if master.endswith("\n") or not master else "\n") + fresh


def faults(settings: Settings, folder: Path, services: str, parameters: str, maps: Mapping[str, str]) -> Iterator[str]:
    """What the running Postfix lacks, by what `postconf -M` (`services`) and `postconf` say, and our files there."""
    running = dict(_running(services))
    for one in transports(settings, folder):
        if one.name not in running:
            yield f"master.cf: no transport {one.name}; include penstock_master.cf and reload Postfix"
            continue
        options, args = running[one.name]
        if "smtp" not in args[:1]:
            yield f"master.cf: {one.name} is a {args[0] if args else 'nothing'}, not an smtp client"
        for name, value in one.options.items():
            if options.get(name) != value:
                yield f"master.cf: {one.name} has {name}={options.get(name, '(unset)')}; wanted is {value}"
    values = dict(line.split(" = ", 1) for line in parameters.splitlines() if " = " in line)
    values |= {line.removesuffix(" ="): "" for line in parameters.splitlines() if line.endswith(" =")}
    for name, value in main_lines(settings, folder):
        if value not in re.split(r"[,\s]+", values.get(name, "")):
            yield f"main.cf: {name} = {values.get(name) or '(empty)'}; it must contain {value}"
    for name, text in files(settings, folder).items():
        if name in ("penstock_pools", "penstock_strip") and maps.get(name) != text:
            yield f"{folder}/{name}: {'it is missing' if name not in maps else 'it is of other settings'}"


def _running(services: str) -> Iterator[tuple[str, tuple[dict[str, str], list[str]]]]:
    """Services of `postconf -M`: name → (options, command)."""
    for line in re.sub(r"\n\s+", " ", services).splitlines():
        words = shlex.split(line) if "'" not in line else line.split()
        if len(words) < 8:
            continue
        name, rest = words[0], words[7:]
        options = [rest[at + 1] for at, word in enumerate(rest[:-1]) if word == "-o"]
        yield name, (dict(one.partition("=")[::2] for one in options), rest)


def exim_files(settings: Settings, folder: Path) -> dict[str, str]:
    """Exim's side: tables from what Penstock's report names (kept in $acl_m_pool) to address and name, and a transport.

    What is looked up is the operator's own, so it is not tainted; a name that is in no table changes nothing.
    """
    ips = [(transport_name(name, one.ip), one) for name, pool in settings.pools.named.items() for one in pool.ips]
    made = _MADE.replace("postfix", "exim")
    interfaces = "".join(f"{name}: <; {' ; '.join(filter(None, (one.ip, one.ip6)))}\n" for name, one in ips)
    helos = "".join(f"{name}: {one.helo}\n" for name, one in ips if one.helo)
    look_up = "${lookup{$acl_m_pool}lsearch{%s/%s}{$value}%s}"
    header = settings.pools.header
    transport = (
        f"{made}penstock_smtp:\n  driver = smtp\n"
        f"  interface = {look_up % (folder, 'penstock_interfaces', 'fail')}\n"
        f"  helo_data = {look_up % (folder, 'penstock_helos', '{$primary_hostname}')}\n"
        f"  headers_remove = {header}\n"
    )
    return {"penstock_interfaces": made + interfaces, "penstock_helos": made + helos, "penstock_transport": transport}
