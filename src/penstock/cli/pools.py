"""penstock pools: which IPs there are and how they are, who uses which, and a person's word about it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock.building import make_pools
from penstock.cli.accounts import DryRun, Name, Reason, named
from penstock.cli.decisions import since_of
from penstock.cli.output import err, fail, out, show_json, show_table
from penstock.cli.pool_files import exim, postfix
from penstock.cli.replay import judged
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.config import Settings, load_settings
from penstock.desk import Desk
from penstock.judge.replan import Past, Shift, past_of
from penstock.model import Action, Audit
from penstock.overview import pool_rows, when
from penstock.pool_past import PlanView, plan_view, pool_history, read_past
from penstock.sending import SendingIp
from penstock.service import Service

app = typer.Typer(no_args_is_help=True, help="Pools of sending IPs.")
app.command()(postfix)
app.command()(exim)
PoolName = Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")]
Ip = Annotated[str, typer.Argument(metavar="IP", help="One of the pools' sending IPs.")]
_MOST_SHOWN = 50
"""Accounts of a plan that people are shown, the largest."""


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
            rows = await pool_rows(service.store, service.rules.pools, now)
        pins = [one for one in state.pins if not one.until or one.until > now]
        if json:
            show_json({"pools": rows, "choices": settings.pools.choices(), "pins": pins})
            return
        columns = ("pool", "ip", "state", "since (UTC)", "why", "clean checks", "warm-up today")
        shown = [(r.pool, r.ip, r.state, when(r.since), r.reason, r.clean_checks, r.warm_up) for r in rows]
        show_table(columns, shown, empty="no pools are configured")
        choices = ", ".join(f"{key} → {pool}" for key, pool in settings.pools.choices().items())
        out.print(f"\nwho uses which: {choices or 'nobody'}", highlight=False)
        if pins:
            table = [(p.account, p.pool, p.ip, when(p.until), p.who, p.reason) for p in pins]
            show_table(("pinned", "pool", "ip", "until (UTC)", "by", "reason"), table)

    run(work(settings_of(config)))


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
            if source is None:
                past = await _past(service, since_of(since, time.time()), most)
            else:
                past = await _judged(wanted, source)
            found = await plan_view(service.store, make_pools(wanted.pools), past, service.rules.policy.throttle)
        _show_plan(found, json)

    run(work(settings_of(config)))


async def _past(service: Service, since: float, most: int) -> list[Past]:
    columns = (SpinnerColumn(), TextColumn("{task.completed} decisions"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("reading")
        return await read_past(
            service.store, since=since, most=most, on_read=lambda count: progress.advance(task, count)
        )


async def _judged(settings: Settings, source: Path) -> list[Past]:
    found: list[Past] = []
    async for one, decision in judged(settings, source, time.gmtime().tm_year):
        if decision.action is Action.ACCEPT:
            # What it was given there is of no account: it never left from here.
            found.append(past_of(replace(decision, pool="", ip=""), one.rcpt_to))
    return found


def _show_plan(found: PlanView, json: bool) -> None:
    moves, volumes = found.moves, found.volumes
    if json:
        show_json(found)
        return
    columns = ("account", "messages", "recipients", "from", "to", "reason")
    rows = [(m.name, m.messages, m.recipients, m.before or "-", m.after or "-", m.reason) for m in moves]
    show_table(columns, rows[:_MOST_SHOWN], empty="no account would move")
    if len(rows) > _MOST_SHOWN:
        out.print(f"… and {len(rows) - _MOST_SHOWN} smaller ones; --json names them all")
    out.print(f"\n{len(moves)} of {found.accounts} accounts would move; recipients by transport:")
    whole = sum(one.recipients for one in volumes) or 1
    table = [(v.name or "(none)", v.recipients, v.after_recipients, _share(v, whole)) for v in volumes]
    show_table(("transport", "before", "after", "share before → after"), table)


def _share(one: Shift, whole: int) -> str:
    return f"{one.recipients / whole:.1%} → {one.after_recipients / whole:.1%}"


def _do(config: Config, what: Callable[[Desk], Awaitable[str]], *, dry_run: bool) -> None:
    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            said = await what(service.desk())
        out.print(f"would be done: {said}" if dry_run else said, highlight=False)

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
    name = named(account)
    if off:
        _do(config, lambda desk: desk.unpin(name, who=who(), reason=reason, dry_run=dry_run), dry_run=dry_run)
        return
    _pin(name, pool, reason, config, ip=ip, dry_run=dry_run)


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
    _pin(named(account), pool, reason, config, until=time.time() + days * 86400.0, dry_run=dry_run)


def _pin(
    account: str, pool: str, reason: str, config: Config, *, ip: str = "", until: float = 0.0, dry_run: bool
) -> None:
    async def what(desk: Desk) -> str:
        said = await desk.pin(account, pool, who=who(), reason=reason, ip=ip, until=until, dry_run=dry_run)
        return said + (f" until {when(until)} UTC" if until else "")

    _do(config, what, dry_run=dry_run)


@app.command()
def drain(
    ip: Ip,
    reason: Reason = "",
    last: Annotated[bool, typer.Option("--last", help="Even if it is the pool's last usable one.")] = False,
    dry_run: DryRun = False,
    config: Config = None,
) -> None:
    """Take an IP out of its pool until `undrain`: its accounts use the others within two seconds."""
    _set_ip(ip, reason, config, is_drained=True, last=last, dry_run=dry_run)


@app.command()
def undrain(ip: Ip, reason: Reason = "", dry_run: DryRun = False, config: Config = None) -> None:
    """Bring an IP back into its pool; listings that are known now no longer count against it."""
    _set_ip(ip, reason, config, is_drained=False, last=True, dry_run=dry_run)


def _set_ip(text: str, reason: str, config: Config, *, is_drained: bool, last: bool, dry_run: bool) -> None:
    _, one = find_ip(settings_of(config), text)

    async def what(desk: Desk) -> str:
        return await desk.set_ip(one.ip, is_drained=is_drained, who=who(), reason=reason, last=last, dry_run=dry_run)

    _do(config, what, dry_run=dry_run)


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
            before, is_more = 0.0, True
            while is_more and len(rows) < limit:
                found = await pool_history(service.store, target=target, limit=limit - len(rows), before=before)
                rows += found.rows
                before, is_more = found.before, found.before > 0
        _show_history(rows, json)

    run(work(settings_of(config)))


def _show_history(rows: Iterable[Audit], json: bool) -> None:
    if json:
        show_json(list(rows))
        return
    columns = ("at (UTC)", "who", "what", "target", "reason", "detail")
    show_table(columns, [(when(a.at), a.who, a.what, a.target, a.reason, a.detail) for a in rows])
