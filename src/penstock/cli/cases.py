"""penstock cases: IPs that were listed or blocked, and the accounts that caused it."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.accounts import DryRun, Reason
from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.config import Settings
from penstock.overview import case_messages, find_case, when
from penstock.sending import Case
from penstock.service import Service

app = typer.Typer(no_args_is_help=True, help="Listed IPs and who caused it.")
CaseName = Annotated[str, typer.Argument(metavar="CASE", help="A case's id, or its IP while the case is open.")]


async def _find(service: Service, text: str) -> Case:
    found = await find_case(service.store, text)
    return found or fail(f'no case "{text}"; `penstock cases list` shows them')


@app.command("list")
def list_cases(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List open cases, newest first."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            rows = await service.store.cases(open_only=not everything, limit=limit)
        if json:
            show_json(rows)
            return
        columns = ("case", "ip", "pool", "opened (UTC)", "closed (UTC)", "lists", "most to blame")
        show_table(columns, [_row(one) for one in rows], empty="no cases")

    run(work(settings_of(config)))


def _row(one: Case) -> tuple[str, ...]:
    first = f"{one.suspects[0].account} ({one.suspects[0].blame:.0%})" if one.suspects else ""
    return one.id, one.ip, one.pool, when(one.opened_at), when(one.closed_at), ", ".join(one.lists), first


@app.command()
def show(case: CaseName, json: Json = False, config: Config = None) -> None:
    """Show one case: lists, window, accounts by their share of the blame, and the messages that show it."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            found = await _find(service, case)
            history = await service.store.audit(target=found.ip, limit=20)
            shown = await case_messages(service.store, found)
        if json:
            show_json({"case": found, "messages": shown, "history": history})
            return
        closed = f"closed {when(found.closed_at)} UTC by {found.closed_by}: {found.reason}"
        state = closed if found.closed_at else "open"
        out.print(f"{found.id}  {found.ip} of pool {found.pool}, {state}", highlight=False)
        out.print(f"on {', '.join(found.lists)} since {when(found.opened_at)} UTC", highlight=False)
        out.print(f"accounts that used it since {when(found.began_at)} UTC:", highlight=False)
        rows = [(f"{s.blame:.0%}", s.account, s.messages, s.recipients, "; ".join(s.reasons)) for s in found.suspects]
        show_table(("blame", "account", "messages", "recipients", "why"), rows, empty="none")
        for one in shown:
            said = f"{one.account}, {when(one.at)}, {one.recipients} recipients: {one.subject or '(no subject)'}"
            out.print(f"  penstock explain {one.id}   # {said}", highlight=False, markup=False, soft_wrap=True)
        told = [(when(a.at), a.who, a.what, a.reason) for a in history]
        show_table(("at (UTC)", "who", "what", "reason"), told, empty="")

    run(work(settings_of(config)))


@app.command()
def close(case: CaseName, reason: Reason = "", dry_run: DryRun = False, config: Config = None) -> None:
    """Close a case by hand; the IP comes back by its own rule or by `penstock pools undrain`."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            found = await _find(service, case)
            if found.closed_at:
                fail(f"case {found.id} was closed {when(found.closed_at)} UTC by {found.closed_by}")
            if dry_run:
                out.print(f"case {found.id} of {found.ip} would be closed", highlight=False)
                return
            await service.desk().close_case(found, who=who(), reason=reason)
        out.print(f"case {found.id} of {found.ip} is closed", highlight=False)

    run(work(settings_of(config)))
