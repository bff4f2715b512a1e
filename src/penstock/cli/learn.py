"""penstock learn: what the provider's own people say about messages."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock.cli.mailboxes import messages
from penstock.cli.output import err, fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.config import Settings
from penstock.examples import Example, Lesson
from penstock.learning import Lessons, Said, Taken
from penstock.overview import when
from penstock.store.ports import ExampleSearch

app = typer.Typer(no_args_is_help=True, help="Teach Penstock what is abuse here, and take it back.")
Sources = Annotated[
    list[str] | None, typer.Argument(metavar="SOURCE…", help="Files, Maildirs, mboxes, or ids of decisions.")
]
OfHeld = Annotated[list[str] | None, typer.Option("--held", metavar="ID", help="A held message; it stays held.")]
AccountOption = Annotated[str, typer.Option("--account", "-a", help="Whose mail it is; else its From.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def _teach(is_abuse: bool) -> Callable[..., None]:
    """The command by which somebody says one thing or the other."""

    def teach(
        sources: Sources = None,
        held: OfHeld = None,
        account: AccountOption = "",
        reason: Reason = "",
        dry_run: DryRun = False,
        json: Json = False,
        config: Config = None,
    ) -> None:
        said = Said(who(), is_abuse, time.time(), reason)
        _tell(run(_learn(settings_of(config), sources or [], held or [], account, said, dry_run)), dry_run, json)

    return teach


app.command("abuse", help="These messages are abuse.")(_teach(True))
app.command("legit", help="These messages are legitimate.")(_teach(False))


async def _learn(
    settings: Settings, sources: list[str], held: list[str], account: str, said: Said, dry_run: bool
) -> Taken:
    if not sources and not held:
        fail("name files, Maildirs, mboxes, ids of decisions, or held messages by --held", 2)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} messages"),
        TimeElapsedColumn(),
    )
    async with opened(settings) as service:
        with Progress(*columns, console=err, transient=True) as progress:
            reading = progress.add_task("reading")

            async def counted() -> AsyncIterator[tuple[str, Lesson | None]]:
                async for one in _read(service.lessons, sources, held, account, said):
                    progress.advance(reading)
                    yield one

            return await service.lessons.teach(counted(), reason=said.reason, dry_run=dry_run)


async def _read(
    lessons: Lessons, sources: list[str], held: list[str], account: str, said: Said
) -> AsyncIterator[tuple[str, Lesson | None]]:
    tenant = account.rpartition("@")[2] if "@" in account else ""
    for source in sources:
        path = _path(source)
        if path is not None:
            for raw in messages(path):
                yield source, lessons.of_raw(raw, said, account=account, tenant=tenant)
        else:
            yield source, await lessons.of_decision(source, said)
    for id in held:
        yield id, await lessons.of_held(id, said)


def _path(source: str) -> Path | None:
    return Path(source) if Path(source).exists() else None


def _tell(told: Taken, dry_run: bool, json: bool) -> None:
    if json:
        show_json(told)
    else:
        out.print(f"{told.taken} {'would be learnt' if dry_run else 'learnt'}, {told.known} known, ", end="")
        out.print(f"{told.too_short} too short to tell apart", highlight=False)
        for id in told.missing:
            err.print(f"{id}: no such file, and nothing is left of such a decision; name the message as a file")
    if told.missing:
        raise typer.Exit(1)


def _since(text: str) -> float:
    """A time: `2026-11-24`, `2026-11-24 10:30` (UTC), or a span ago such as 90m, 12h, 3d."""
    unit = {"m": "minutes", "h": "hours", "d": "days"}.get(text[-1:])
    if unit and text[:-1].isdigit():
        return time.time() - timedelta(**{unit: int(text[:-1])}).total_seconds()
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if text else 0.0
    except ValueError:
        fail(f'--since: "{text}" is no time; write 2026-11-24, "2026-11-24 10:30" (UTC), 90m, 12h or 3d', 2)


@app.command()
def undo(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids of examples.")] = None,
    since: Annotated[str, typer.Option(help="All since then: 2026-11-24, 90m, 12h, 3d.")] = "",
    account: Annotated[str, typer.Option("--account", "-a", help="All of an account's mail.")] = "",
    tenant: Annotated[str, typer.Option(help="All of a tenant's mail.")] = "",
    person: Annotated[str, typer.Option("--who", help="All that somebody taught; `complaints` for those.")] = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Take examples back, as if they had never been; options narrow each other."""
    search = ExampleSearch(tuple(ids or ()), account, tenant, person, _since(since), limit=1_000_000)
    if search == ExampleSearch(limit=1_000_000):
        fail("name ids, or --since, --account, --tenant or --who", 2)

    async def work() -> int:
        async with opened(settings_of(config)) as service:
            if dry_run:
                return len(await service.store.examples(search))
            return await service.lessons.undo(search, who=who(), reason=reason, now=time.time())

    count = run(work())
    if json:
        show_json({"undone": count})
    else:
        out.print(f"{count} {'would be undone' if dry_run else 'undone'}", highlight=False)


@app.command("list")
def list_examples(
    since: Annotated[str, typer.Option(help="Since then: 2026-11-24, 90m, 12h, 3d.")] = "",
    account: Annotated[str, typer.Option("--account", "-a", help="Of an account's mail.")] = "",
    tenant: Annotated[str, typer.Option(help="Of a tenant's mail.")] = "",
    person: Annotated[str, typer.Option("--who", help="Taught by somebody.")] = "",
    undone: Annotated[bool, typer.Option("--undone", help="Those that were undone, too.")] = False,
    before: Annotated[str, typer.Option(help="Next page: the id of the last row shown.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List examples, newest first."""
    search = ExampleSearch((), account, tenant, person, _since(since), undone, before, limit)

    async def work() -> list[Example]:
        async with opened(settings_of(config)) as service:
            return await service.store.examples(search)

    rows = run(work())
    if json:
        show_json(rows)
        return
    show_table(
        ("id", "at (UTC)", "who", "said", "account", "from", "weight", "undone (UTC)", "subject"),
        [
            (
                one.id,
                when(one.at),
                one.who,
                "abuse" if one.is_abuse else "legit",
                one.account,
                one.origin,
                one.weight,
                when(one.undone_at),
                one.subject[:40],
            )
            for one in rows
        ],
        empty="nothing was learnt",
    )
