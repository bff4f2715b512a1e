"""penstock accounts: who sends, how each stands, and a person's word about it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

import typer
from msgspec import to_builtins

from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.config import Settings
from penstock.judge.limits import Override
from penstock.judge.logins import LoginPlace
from penstock.judge.way_back import Condition
from penstock.model import Account, Standing
from penstock.overview import AccountView, account_view, when
from penstock.store.ports import AccountSearch

app = typer.Typer(no_args_is_help=True, help="Accounts and their standing.")
Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="kind:value, e.g. sasl:joe@example.com")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def named(text: str) -> str:
    """An account's name, checked; a bare login is taken as sasl:login."""
    try:
        return str(Account.parse(text if ":" in text else f"sasl:{text}"))
    except ValueError as trouble:
        fail(str(trouble), 2)


@app.command("list")
def list_accounts(
    text: Annotated[str, typer.Argument(help="A part of the name.")] = "",
    standing: Annotated[Standing | None, typer.Option(help="Only accounts of this standing.")] = None,
    tenant: Annotated[str, typer.Option(help="Only accounts of this tenant.")] = "",
    order: Annotated[str, typer.Option(help="evidence, seen or account.")] = "evidence",
    limit: Annotated[int, typer.Option(min=1)] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List accounts, those with most evidence first."""
    if order not in ("evidence", "seen", "account"):
        fail(f'no order "{order}"; there are evidence, seen and account', 2)
    search = AccountSearch(text, standing.value if standing else "", tenant, order, None, limit)

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            rows = await service.store.accounts(search)
        if json:
            show_json(rows)
            return
        columns = ("account", "standing", "nats", "messages", "recipients", "pool", "last seen (UTC)", "reason")
        show_table(
            columns,
            [
                (r.account, r.standing, r.evidence, r.messages, r.recipients, r.pool, when(r.seen_at), r.reason)
                for r in rows
            ],
        )

    run(work(settings_of(config)))


@app.command()
def show(account: Name, json: Json = False, config: Config = None) -> None:
    """Show one account: standing, evidence, limits in use, last decisions, what people did."""
    name = named(account)

    async def work(settings: Settings) -> None:
        now = time.time()
        async with opened(settings) as service:
            view = await account_view(service.store, service.rules, name, now, decisions=10)
        if view is None:
            fail(f"{name} has sent nothing yet")
        found, row, decisions, audit = view.summary, view.row, view.decisions, view.audit
        if json:
            show_json(
                {
                    "account": name,
                    "tenant": row.tenant if row else "",
                    **to_builtins(found),
                    "limits": [{**to_builtins(limit), "used": count} for limit, count in view.limits],
                    "logins": view.logins,
                    "sources": view.sources,
                    "baseline": view.baseline,
                    "events": view.events,
                    "overrides": view.overrides,
                    "decisions": decisions,
                    "audit": audit,
                }
            )
            return
        out.print(f"[bold]{name}[/bold]  {found.standing} since {when(found.since)} UTC {found.reason}")
        out.print(
            f"{found.messages} messages to {found.recipients} recipients since {when(found.first_seen)}; "
            f"{found.known_share:.0%} of recipients known, {found.per_hour:.1f} in an ordinary active hour"
        )
        evidence = ", ".join(f"{group} {nats:+.1f}" for group, nats in found.groups.items()) or "none"
        out.print(f"evidence {found.score:.1f} nats: {evidence}")
        for limit, count in view.limits:
            out.print(f"{count} of {limit.most} {limit.unit.replace('-', ' ')} per {limit.window} used")
        rows = [
            (d.decision.id, when(d.decision.at), d.decision.wanted, d.decision.reason, d.subject) for d in decisions
        ]
        _show_usual(view)
        columns = ("logs in from", "by", "first (UTC)", "last (UTC)", "logins", "strange")
        show_table(columns, [_place(one) for one in view.logins[:20]], empty="")
        show_table(("decision", "at (UTC)", "wanted", "reason", "subject"), rows, empty="no decisions")
        show_table(
            ("at (UTC)", "who", "what", "reason"), [(when(a.at), a.who, a.what, a.reason) for a in audit], empty=""
        )

    run(work(settings_of(config)))


def _show_usual(view: AccountView) -> None:
    """The owner's habits, its sources, and what came back lately."""
    usual = view.baseline
    shares = ", ".join(f"{name} {one.share:.1%}" for name, one in usual.shares.items())
    out.print(f"learnt from {usual.learnt} messages; knows about {usual.known_recipients} recipients", highlight=False)
    if usual.active_hours:
        out.print(f"one active hour in twenty has {usual.most_per_hour:.0f} recipients or more", highlight=False)
    if shares:
        out.print(f"usual: {shares}", highlight=False)
    columns = ("source", "mail program", "first (UTC)", "last (UTC)", "messages", "without trouble", "nats")
    rows = [
        (one.source, one.client, when(one.first_at), when(one.seen_at), one.messages, one.good, one.nats)
        for one in view.sources[:10]
    ]
    show_table(columns, rows, empty="")
    came = [(when(one.at), one.what, one.recipient, one.reason, one.detail[:80]) for one in view.events[:10]]
    show_table(("came back (UTC)", "what", "recipient", "reason", "detail"), came, empty="")


def _place(one: LoginPlace) -> tuple[object, ...]:
    """A row of the table of places; strange ones have nats."""
    where = " ".join(filter(None, (one.source, f"AS{one.asn}" if one.asn else "", one.country)))
    by = " ".join(filter(None, (", ".join(one.services), one.client)))
    return (
        where,
        by,
        when(one.first_at),
        when(one.last_at),
        one.logins,
        f"{one.strangeness:+.1f}" * (one.strangeness > 0),
    )


def _steer(account: str, wanted: str, reason: str, config: Config, *, dry_run: bool) -> None:
    name = named(account)

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            if dry_run:
                row = await service.store.account(name)
                at = row.standing if row else "unknown here"
                out.print(f"{name} is {at}; it would be {wanted}")
                return
            desk = service.desk()
            steer = {"suspended": desk.suspend, "trusted": desk.trust}.get(wanted, desk.release)
            after = await steer(name, who=who(), reason=reason)
        out.print(f"{name} is {after}")

    run(work(settings_of(config)))


@app.command()
def suspend(account: Name, reason: Reason = "", dry_run: DryRun = False, config: Config = None) -> None:
    """Stop an account's mail, until it is released."""
    _steer(account, "suspended", reason, config, dry_run=dry_run)


@app.command()
def release(account: Name, reason: Reason = "", dry_run: DryRun = False, config: Config = None) -> None:
    """Give an account back to its owner: what spoke against it is forgotten, the evidence decides again."""
    _steer(account, "left to its evidence", reason, config, dry_run=dry_run)


@app.command()
def trust(account: Name, reason: Reason = "", dry_run: DryRun = False, config: Config = None) -> None:
    """Set an account's standing to trusted."""
    _steer(account, "trusted", reason, config, dry_run=dry_run)


@app.command("password-changed")
def password_changed(account: Name, reason: Reason = "", dry_run: DryRun = False, config: Config = None) -> None:
    """Say that an account's password was changed: what spoke against it is void, and it may send again."""
    _confirm(account, Condition.PASSWORD, reason, config, dry_run=dry_run)


@app.command()
def confirm(
    account: Name,
    condition: Annotated[Condition, typer.Argument(help="What is met.")],
    reason: Reason = "",
    dry_run: DryRun = False,
    config: Config = None,
) -> None:
    """Say that something that is asked for before a release is met, such as forwards that were looked through."""
    _confirm(account, condition, reason, config, dry_run=dry_run)


def _confirm(account: str, condition: Condition, reason: str, config: Config, *, dry_run: bool) -> None:
    name = named(account)

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            if not dry_run:
                await service.desk().confirm(name, condition, who=who(), reason=reason)
            row, way = await service.store.account(name), await service.enforcing.way_back.way(name)
        out.print(f"{name} is {row.standing if row else 'unknown here'}", highlight=False)
        if row is not None and row.standing is Standing.SUSPENDED and way.missing:
            out.print(f"before it is let in: {', '.join(way.missing)}", highlight=False)

    run(work(settings_of(config)))


@app.command()
def limit(
    account: Name,
    unit: Annotated[str, typer.Argument(help="messages, recipients or new-recipients")],
    window: Annotated[str, typer.Argument(help="hour or day")],
    most: Annotated[int, typer.Argument(help="The new limit; 0 for none, -1 takes an override back.")],
    until: Annotated[datetime | None, typer.Option(help="End of the override; without it, it stays.")] = None,
    reason: Reason = "",
    config: Config = None,
) -> None:
    """Give one account another limit than its plan's, with or without an end date."""
    name = named(account)
    override = Override(unit, window, most, until.timestamp() if until else 0.0)

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            said = await service.desk().limit(name, override, who=who(), reason=reason)
        out.print(said + (f" until {until}" if until else ""), highlight=False)

    run(work(settings_of(config)))
