"""penstock held: mail that is kept for review."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from penstock.cli.accounts import named
from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.config import Settings
from penstock.judge.review import Hand
from penstock.overview import when
from penstock.service import Service
from penstock.workers.held import Kept, Outcome, review

app = typer.Typer(no_args_is_help=True, help="Mail that is kept for review.")
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids of held messages.")]
OfAccount = Annotated[str, typer.Option("--account", "-a", help="All of an account's held mail.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
Learn = Annotated[
    bool | None,
    typer.Option(
        "--learn/--no-learn",
        help="Whether to learn from it; by default where ids are named, not for all of an account.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@app.command("list")
def list_held(
    account: OfAccount = "",
    state: Annotated[str, typer.Option(help="held, releasing, released, dropped, expired or all.")] = "held",
    before: Annotated[str, typer.Option(help="Next page: the id of the last row shown.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List held messages, newest first."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            wanted = "" if state == "all" else state
            rows = await service.store.held(account=account, state=wanted, limit=limit, before=before)
        if json:
            show_json(rows)
            return
        show_table(
            ("id", "since (UTC)", "account", "state", "reason", "rcpts", "bytes", "subject"),
            [
                (h.id, when(h.held_at), h.account, h.state, h.reason, len(h.rcpt_to), h.size_bytes, h.subject[:40])
                for h in rows
            ],
            empty="nothing is held",
        )

    run(work(settings_of(config)))


@app.command()
def show(
    id: Annotated[str, typer.Argument()],
    raw: Annotated[bool, typer.Option("--raw", help="The message's bytes, and nothing else.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show a held message: its envelope and its beginning, or its bytes."""

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            one, data = await service.store.held_one(id), await service.store.held_raw(id)
        if one is None:
            fail(f'no held message "{id}"')
        if raw:
            if data is None:
                fail(f"{id} is {one.state}; its bytes are gone")
            sys.stdout.buffer.write(data)
            return
        if json:
            show_json(one)
            return
        out.print(
            f"{one.id}  {one.state} since {when(one.changed_at or one.held_at)} UTC  {one.reason}", highlight=False
        )
        out.print(f"account {one.account}\nfrom    {one.mail_from or '<>'}", highlight=False, markup=False)
        out.print(f"to      {', '.join(one.rcpt_to)}\n", highlight=False, markup=False)
        out.print((data or b"")[:2000].decode("utf-8", "replace"), highlight=False, markup=False)

    run(work(settings_of(config)))


def _chosen(ids: list[str] | None, account: str) -> None:
    if bool(ids) == bool(account):
        fail("name ids, or an account by --account", 2)


def _learns(settings: Settings, learn: bool | None, ids: list[str] | None) -> bool:
    """What was looked at one by one is an example; a whole account's mail, which nobody has read, is not."""
    return (settings.learning.from_held and bool(ids)) if learn is None else learn


async def _wanted(service: Service, ids: list[str] | None, account: str) -> list[str]:
    return ids or [one.id for one in await service.store.held(account=account, limit=10_000)]


def _tell(outcomes: list[Outcome], json: bool) -> None:
    if json:
        show_json(outcomes)
    else:
        for one in outcomes:
            out.print(f"{one.id}  {'done' if one.is_done else 'not done'}: {one.detail}", highlight=False, markup=False)
    if not all(one.is_done for one in outcomes):
        raise typer.Exit(1)


@app.command()
def release(
    ids: Ids = None,
    account: OfAccount = "",
    reason: Reason = "",
    learn: Learn = None,
    dry_run: DryRun = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Send held messages on to the next hop."""
    _chosen(ids, account)

    async def work(settings: Settings) -> list[Outcome]:
        async with opened(settings) as service:
            wanted = await _wanted(service, ids, account)
            if dry_run:
                return [Outcome(id, True, "would be released") for id in wanted]
            desk, learns = service.desk(), _learns(settings, learn, ids)
            return [await desk.release_held(id, who=who(), reason=reason, learn=learns) for id in wanted]

    _tell(run(work(settings_of(config))), json)


@app.command("settle")
def settle_held(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="kind:value, or a login.")],
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Settle an account's held mail at once: the owner's goes on, abuse is dropped, and what is unclear stays."""
    name = named(account)
    if json and not (yes or dry_run):
        fail("nobody can be asked with --json; say --yes, or --dry-run", 2)

    async def work(settings: Settings) -> list[Outcome]:
        async with opened(settings) as service:
            kept = await review(service.store, name)
            if not json:
                _tell_kept(kept)
            if dry_run or not kept:
                return [Outcome(one.held.id, True, _WOULD[one.hand]) for one in kept] if json else []
            if not yes and not typer.confirm("Settle it so?"):
                return []
            return await service.desk().settle_held(kept, who=who(), reason=reason)

    outcomes = run(work(settings_of(config)))
    if json:
        show_json(outcomes)
    else:
        for one in outcomes:
            out.print(f"{one.id}  {'done' if one.is_done else 'not done'}: {one.detail}", highlight=False, markup=False)


_WOULD = {Hand.OWNER: "would be released", Hand.ABUSE: "would be dropped", Hand.UNCLEAR: "would stay held"}


def _tell_kept(kept: list[Kept]) -> None:
    rows = [
        (one.held.id, when(one.held.held_at), one.hand, _WOULD[one.hand], len(one.held.rcpt_to), one.held.subject[:50])
        for one in kept
    ]
    show_table(("id", "since (UTC)", "whose", "what", "rcpts", "subject"), rows, empty="nothing is held")


@app.command("drop")
def drop_held(
    ids: Ids = None,
    account: OfAccount = "",
    reason: Reason = "",
    learn: Learn = None,
    dry_run: DryRun = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Remove held messages for good; the audit log keeps that they were there."""
    _chosen(ids, account)

    async def work(settings: Settings) -> list[Outcome]:
        async with opened(settings) as service:
            wanted = await _wanted(service, ids, account)
            if dry_run:
                return [Outcome(id, True, "would be dropped") for id in wanted]
            desk, learns = service.desk(), _learns(settings, learn, ids)
            return [await desk.drop_held(id, who=who(), reason=reason, learn=learns) for id in wanted]

    _tell(run(work(settings_of(config))), json)
