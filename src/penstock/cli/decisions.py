"""penstock decisions, explain and trace: what was decided, and why."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

import typer

from penstock.building import reference_key
from penstock.cli.output import err, fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.config import Settings
from penstock.model import Action
from penstock.overview import explanation, find_decision, when
from penstock.store.ports import DecisionSearch

Ago = Annotated[str, typer.Option(help="Start: a time, or an age such as 90m, 12h, 7d.")]


def since_of(text: str, now: float) -> float:
    """Unix time of `7d`, `12h`, `30m` ago or of an ISO 8601 time; 0 for nothing."""
    if not text:
        return 0.0
    units = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
    if text[-1] in units and text[:-1].replace(".", "", 1).isdigit():
        return now - float(text[:-1]) * units[text[-1]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        fail(f'"{text}" is no time; write 12h, 7d or 2026-01-31T08:00', 2)


def decisions(
    account: Annotated[str, typer.Option("--account", "-a", help="kind:value")] = "",
    tenant: Annotated[str, typer.Option()] = "",
    action: Annotated[Action | None, typer.Option(help="Taken or wanted.")] = None,
    reason: Annotated[str, typer.Option(help="PS-CONTENT, PS-ACCOUNT, PS-LIMIT …")] = "",
    since: Ago = "",
    until: Annotated[str, typer.Option(help="End, in the same way.")] = "",
    sender: Annotated[str, typer.Option("--from", help="Envelope sender.")] = "",
    recipient: Annotated[str, typer.Option("--to", help="A recipient.")] = "",
    queue_id: Annotated[str, typer.Option()] = "",
    before: Annotated[str, typer.Option(help="Next page: the id of the last row shown.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """Search decisions, newest first."""
    now = time.time()
    search = DecisionSearch(
        account=account,
        tenant=tenant,
        action=action.value if action else "",
        reason=reason,
        since=since_of(since, now),
        until=since_of(until, now),
        queue_id=queue_id,
        rcpt_to=recipient,
        mail_from=sender,
        before=before,
        limit=limit,
    )

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            rows = await service.store.decisions(search)
        if json:
            show_json(rows)
            return
        show_table(
            ("id", "at (UTC)", "account", "action", "wanted", "reason", "nats", "rcpts", "subject"),
            [
                (
                    r.decision.id,
                    when(r.decision.at),
                    str(r.decision.account),
                    r.decision.action,
                    r.decision.wanted,
                    r.decision.reason,
                    r.decision.score,
                    len(r.rcpt_to),
                    r.subject[:40],
                )
                for r in rows
            ],
        )
        if len(rows) == limit:
            err.print(f"more: --before {rows[-1].decision.id}")

    run(work(settings_of(config)))


def explain(
    id: Annotated[str, typer.Argument(help="A decision's id, token, queue id or Message-ID.")],
    json: Json = False,
    config: Config = None,
) -> None:
    """Explain a decision: the sum of its terms, in words."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            row = await find_decision(service.store, id, reference_key(settings))
            delivery = await service.store.delivery(row.decision.id) if row is not None else None
        if row is None:
            fail(f'no decision "{id}"')
        if json:
            show_json({"row": row, "delivery": delivery})
            return
        for line in explanation(row, delivery):
            out.print(line, highlight=False, markup=False)

    run(work(settings_of(config)))


def trace(
    reference: Annotated[str, typer.Argument(help="A token (X-Penstock-Ref), queue id or Message-ID.")],
    json: Json = False,
    config: Config = None,
) -> None:
    """Lead a token of a complaint or bounce back to account and decision."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            row = await find_decision(service.store, reference, reference_key(settings))
        if row is None:
            fail(f'nothing is known of "{reference}"; it may be older than store.keep_decisions_days')
        decision = row.decision
        if json:
            show_json(
                {
                    "account": str(decision.account),
                    "tenant": decision.account.tenant,
                    "decision": decision.id,
                    "action": decision.action,
                    "at": decision.at,
                }
            )
            return
        out.print(f"{decision.account} (tenant {decision.account.tenant or '-'})", highlight=False)
        out.print(
            f"decision {decision.id} at {when(decision.at)} UTC: {decision.action} {decision.reason}", highlight=False
        )

    run(work(settings_of(config)))
