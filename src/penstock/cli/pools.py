"""penstock pools: which IPs there are and how they are, who uses which, and a person's word about it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock.building import make_pools
from penstock.cli.accounts import DryRun, Name, Reason, named
from penstock.cli.decisions import since_of
from penstock.cli.output import err, fail, out, show_json, show_table, when
from penstock.cli.pool_files import exim, postfix
from penstock.cli.replay import judged
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.config import Settings, load_settings
from penstock.judge.identity import FORWARDS
from penstock.judge.pools import Live
from penstock.judge.replan import Past, Plan, Shift, past_of, replan
from penstock.judge.warmup import WarmUp, used_on
from penstock.model import Action, Audit, DecisionRow, IpState, Pin, SendingIp, transport_name
from penstock.service import Service
from penstock.store.ports import DecisionSearch, PoolRecords
from penstock.workers.warming import read_seen

app = typer.Typer(no_args_is_help=True, help="Pools of sending IPs.")
app.command()(postfix)
app.command()(exim)
PoolName = Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")]
Ip = Annotated[str, typer.Argument(metavar="IP", help="One of the pools' sending IPs.")]
_PAGE = 1000
_MOST_SHOWN = 50
"""Accounts of a plan that people are shown, the largest."""
_TOLD = {"drain-ip", "undrain-ip", "open-case", "close-case", "pin-account", "unpin-account", "move-pool"}


def find_ip(settings: Settings, text: str) -> tuple[str, SendingIp]:
    """(pool, IP) of a configured address; ends the command where there is none."""
    for name, pool in make_pools(settings.pools).named.items():
        for one in pool.ips:
            if text in (one.ip, one.ip6):
                return name, one
    return fail(f"{text} is in no pool; `penstock pools show` lists the sending IPs", 2)


@app.command()
def show(json: Json = False, config: Config = None) -> None:
    """Show pools, their IPs and states, how far new IPs are warmed up, and pins."""

    async def work(settings: Settings) -> None:
        now = time.time()
        async with opened(settings) as service:
            state = await service.store.pool_state()
            rows = await _rows(service, {one.ip: one for one in state.ips}, now)
        pins = [one for one in state.pins if not one.until or one.until > now]
        if json:
            show_json({"pools": rows, "choices": settings.pools.choices(), "pins": pins})
            return
        columns = ("pool", "ip", "state", "since (UTC)", "why", "clean checks", "warm-up today")
        names = ("pool", "ip", "state", "since", "reason", "clean_checks", "warm_up")
        show_table(columns, [tuple(row[name] for name in names) for row in rows], empty="no pools are configured")
        choices = ", ".join(f"{key} → {pool}" for key, pool in settings.pools.choices().items())
        out.print(f"\nwho uses which: {choices or 'nobody'}", highlight=False)
        if pins:
            table = [(p.account, p.pool, p.ip, when(p.until), p.who, p.reason) for p in pins]
            show_table(("pinned", "pool", "ip", "until (UTC)", "by", "reason"), table)

    run(work(settings_of(config)))


async def _rows(service: Service, states: dict[str, IpState], now: float) -> list[dict[str, object]]:
    pools, rows = service.rules.pools.as_seen(await read_seen(service.store)), list[dict[str, object]]()
    for name, pool in pools.named.items():
        for one in pool.ips or (SendingIp(""),):
            state = states.get(one.ip) or IpState(one.ip, name, "active" if one.ip else "", 0.0)
            row: dict[str, object] = {"pool": name, "ip": one.ip, "transport": transport_name(name, one.ip)}
            row |= {"helo": one.helo, "state": state.state, "since": when(state.since), "reason": state.reason}
            rows.append(
                {**row, "clean_checks": state.clean_checks, "warm_up": await _warm_up(service, pools.warm_up, one, now)}
            )
    return rows


async def _warm_up(service: Service, warm_up: WarmUp, one: SendingIp, now: float) -> str:
    if warm_up.is_warm(one, now):
        return ""
    used = used_on((await service.store.read((f"w:{one.ip}",)))[f"w:{one.ip}"], one, now)
    caps = {group: warm_up.cap(one, group, now) for group in warm_up.caps}
    shares = (f"{group} {used.counts.get(group, 0)}/{cap}" for group, cap in caps.items() if cap is not None)
    return f"day {used.day + 1}: {', '.join(shares)}"


@app.command()
def plan(
    source: Annotated[
        Path | None, typer.Argument(help="An mbox, a Maildir, a folder of messages or a Postfix log instead.")
    ] = None,
    since: Annotated[str, typer.Option(help="How much of the past: 24h, 7d …")] = "3d",
    new: Annotated[
        Path | None, typer.Option("--new", help="A configuration to try instead of the present one.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="At most so many decisions, the latest.")] = 200_000,
    json: Json = False,
    config: Config = None,
) -> None:
    """Send the last days' mail again through table and IPs: which accounts would move, how volumes would shift."""
    if source is not None and not source.exists():
        fail(f"{source}: there is no such file or folder", 2)

    async def work(settings: Settings) -> None:
        wanted = load_settings(new) if new else settings
        async with opened(settings) as service:
            state = await service.store.pool_state()
            pools = make_pools(wanted.pools).as_seen(await read_seen(service.store))
            suspect_at = service.rules.policy.throttle
            if source is None:
                past = await _past(service, since_of(since, time.time()), most)
            else:
                past = await _judged(wanted, source)
        past.sort(key=lambda one: one.at)
        _show_plan(replan(pools, Live.of(state.ips, state.pins), past, suspect_at), json)

    run(work(settings_of(config)))


async def _past(service: Service, since: float, most: int) -> list[Past]:
    found: list[Past] = []
    columns = (SpinnerColumn(), TextColumn("{task.completed} decisions"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task, before = progress.add_task("reading"), ""
        while len(found) < most:
            rows = await service.store.decisions(DecisionSearch(since=since, before=before, limit=_PAGE))
            found += [_past_of(row) for row in rows if row.decision.action is Action.ACCEPT]
            progress.advance(task, len(rows))
            if len(rows) < _PAGE:
                break
            before = rows[-1].decision.id
    return found[:most]


def _past_of(row: DecisionRow) -> Past:
    return past_of(row.decision, row.rcpt_to, is_forward=row.source == FORWARDS)


async def _judged(settings: Settings, source: Path) -> list[Past]:
    found: list[Past] = []
    async for one, decision in judged(settings, source, time.gmtime().tm_year):
        if decision.action is Action.ACCEPT:
            # What it was given there is of no account: it never left from here.
            found.append(past_of(replace(decision, pool="", ip=""), one.rcpt_to))
    return found


def _show_plan(found: Plan, json: bool) -> None:
    moves, volumes = found.moves(), sorted(found.transports.values(), key=lambda one: one.name)
    if json:
        show_json({"accounts": len(found.accounts), "moves": moves, "volumes": volumes})
        return
    columns = ("account", "messages", "recipients", "from", "to", "reason")
    rows = [(m.name, m.messages, m.recipients, m.before or "-", m.after or "-", m.reason) for m in moves]
    show_table(columns, rows[:_MOST_SHOWN], empty="no account would move")
    if len(rows) > _MOST_SHOWN:
        out.print(f"… and {len(rows) - _MOST_SHOWN} smaller ones; --json names them all")
    out.print(f"\n{len(moves)} of {len(found.accounts)} accounts would move; recipients by transport:")
    whole = sum(one.recipients for one in volumes) or 1
    table = [(v.name or "(none)", v.recipients, v.after_recipients, _share(v, whole)) for v in volumes]
    show_table(("transport", "before", "after", "share before → after"), table)


def _share(one: Shift, whole: int) -> str:
    return f"{one.recipients / whole:.1%} → {one.after_recipients / whole:.1%}"


def _keep(records: PoolRecords, said: str, config: Config, *, dry_run: bool) -> None:
    async def work(settings: Settings) -> None:
        if dry_run:
            out.print(f"would be done: {said}", highlight=False)
            return
        async with opened(settings) as service:
            await service.store.record_pools(records)
        out.print(said, highlight=False)

    run(work(settings_of(config)))


@app.command()
def pin(
    account: Name,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool; none with --off.")] = "",
    ip: Annotated[str, typer.Option(help="One IP of that pool.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Take the pin back: the table decides again.")] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    config: Config = None,
) -> None:
    """Pin an account to a pool, or to one IP of it, whatever its standing, until the pin is taken back."""
    name, now = named(account), time.time()
    if off:
        audit = Audit(now, who(), "unpin-account", name, reason)
        _keep(PoolRecords(unpinned=(name,), audit=(audit,)), f"{name} goes by the table", config, dry_run=dry_run)
        return
    _pin(Pin(name, pool, now, who(), ip, 0.0, reason), config, dry_run=dry_run)


@app.command()
def move(
    account: Name,
    pool: PoolName,
    days: Annotated[float, typer.Option(min=0.01, help="For how long; after that the table decides again.")] = 7.0,
    reason: Reason = "",
    dry_run: DryRun = False,
    config: Config = None,
) -> None:
    """Move an account to a pool for some days."""
    now = time.time()
    _pin(Pin(named(account), pool, now, who(), "", now + days * 86400.0, reason), config, dry_run=dry_run)


def _pin(one: Pin, config: Config, *, dry_run: bool) -> None:
    section = settings_of(config).pools
    if one.pool not in section.named:
        fail(f'no pool is named "{one.pool}"; there is {", ".join(sorted(section.named)) or "none"}', 2)
    if one.ip and one.ip not in {ip.ip for ip in section.named[one.pool].ips}:
        fail(f"{one.ip} is no IP of pool {one.pool}", 2)
    until = f" until {when(one.until)} UTC" if one.until else ""
    said = f"{one.account} uses pool {one.pool}{f', IP {one.ip},' if one.ip else ''}{until}"
    audit = Audit(one.at, one.who, "pin-account", one.account, one.reason, said)
    _keep(PoolRecords(pins=(one,), audit=(audit,)), said, config, dry_run=dry_run)


@app.command()
def drain(
    ip: Ip,
    reason: Reason = "",
    last: Annotated[bool, typer.Option("--last", help="Even if it is the pool's last usable one.")] = False,
    dry_run: DryRun = False,
    config: Config = None,
) -> None:
    """Take an IP out of its pool until `undrain`: its accounts use the others within two seconds."""
    _set_ip(ip, "drained", reason, config, last=last, dry_run=dry_run)


@app.command()
def undrain(ip: Ip, reason: Reason = "", dry_run: DryRun = False, config: Config = None) -> None:
    """Bring an IP back into its pool; listings that are known now no longer count against it."""
    _set_ip(ip, "active", reason, config, last=True, dry_run=dry_run)


def _set_ip(text: str, state: str, reason: str, config: Config, *, last: bool, dry_run: bool) -> None:
    settings = settings_of(config)
    pool, one = find_ip(settings, text)

    async def others() -> list[str]:
        async with opened(settings) as service:
            states = {kept.ip: kept.state for kept in (await service.store.pool_state()).ips}
        ips = make_pools(settings.pools).named[pool].ips
        return [ip.ip for ip in ips if ip.ip != one.ip and states.get(ip.ip, "active") == "active"]

    if not last and not run(others()):
        fail(f"{one.ip} is the last usable IP of pool {pool}; say --last if its mail shall take the fallback")
    now = time.time()
    audit = Audit(now, who(), "drain-ip" if state == "drained" else "undrain-ip", one.ip, reason, f"pool {pool}")
    kept = IpState(one.ip, pool, state, now, who(), reason)
    _keep(PoolRecords((kept,), audit=(audit,)), f"{one.ip} of pool {pool} is {state}", config, dry_run=dry_run)


@app.command()
def history(
    target: Annotated[str, typer.Argument(help="An IP or an account; without one, everything.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show what moved, when, by whom and why: IPs drained and brought back, accounts moved and pinned, cases."""

    async def work(settings: Settings) -> None:
        rows: list[Audit] = []
        async with opened(settings) as service:
            before = 0.0
            while len(rows) < limit:
                page = await service.store.audit(target=target, limit=_PAGE, before=before)
                rows += [one for one in page if one.what in _TOLD]
                if len(page) < _PAGE:
                    break
                before = page[-1].at
        _show_history(rows[:limit], json)

    run(work(settings_of(config)))


def _show_history(rows: Iterable[Audit], json: bool) -> None:
    if json:
        show_json(list(rows))
        return
    columns = ("at (UTC)", "who", "what", "target", "reason", "detail")
    show_table(columns, [(when(a.at), a.who, a.what, a.target, a.reason, a.detail) for a in rows])
