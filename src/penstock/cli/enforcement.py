"""penstock enforcement: what is shut where accounts live, what waits to be shut, and what would be."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from penstock.cli.accounts import named
from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.config import Settings
from penstock.judge.way_back import Way
from penstock.model import Standing, Step
from penstock.overview import when
from penstock.workers.enforcement import topic_of

app = typer.Typer(no_args_is_help=True, help="Shutting accounts where they live, and opening them again.")
Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="kind:value, or a login.")]
_MOST = 1000


@app.command()
def waiting(json: Json = False, config: Config = None) -> None:
    """List the steps that are not carried out yet, by driver, oldest first."""

    async def work(settings: Settings) -> list[tuple[str, Step]]:
        async with opened(settings) as service:
            return [
                (name, msgspec.convert(item.payload, Step))
                for name in settings.enforcement.hosts()
                for item in await service.store.outbox(topic=topic_of(name), limit=_MOST)
            ]

    found = run(work(settings_of(config)))
    if json:
        show_json([{"driver": name, **msgspec.to_builtins(step)} for name, step in found])
        return
    rows = [(name, when(step.at), step.account, step.verb, str(step.thing), step.reason[:60]) for name, step in found]
    show_table(("driver", "since (UTC)", "account", "verb", "what", "why"), rows, empty="nothing waits")


@app.command()
def plan(account: Name, json: Json = False, config: Config = None) -> None:
    """Show what would be shut, and how, if the account were suspended now. Nothing is done."""
    name = named(account)

    async def work(settings: Settings) -> list[str]:
        async with opened(settings) as service:
            return await service.enforcing.planner.planned(name)

    lines = run(work(settings_of(config)))
    if json:
        show_json({"account": name, "steps": lines})
        return
    for line in lines or ["no driver would be asked; Penstock itself refuses the account's mail"]:
        out.print(line, highlight=False, markup=False)


@app.command("way-back")
def way_back(account: Name, json: Json = False, config: Config = None) -> None:
    """Show what is asked for before a suspended account is let in, and when it is by itself."""
    name = named(account)

    async def work(settings: Settings) -> Way:
        async with opened(settings) as service:
            row = await service.store.account(name)
            if row is None or row.standing is not Standing.SUSPENDED:
                fail(f"{name} is {row.standing if row else 'unknown here'}, not suspended")
            return await service.enforcing.way_back.way(name)

    way = run(work(settings_of(config)))
    if json:
        show_json({"account": name, **msgspec.to_builtins(way)})
        return
    rows = [(one, "met") for one in way.met] + [(one, "missing") for one in way.missing]
    show_table(("condition", "state"), rows, empty="no condition applies")
    told = f"by itself at {when(way.opens_at)} UTC" if way.opens_at else "by a person alone"
    out.print(f"let in {told}" if way.missing or not way.is_due else "let in within a minute", highlight=False)


@app.command()
def sync(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Shut what is suspended here but not yet where it lives, as after a time of observing."""

    async def work(settings: Settings) -> list[tuple[str, str]]:
        async with opened(settings) as service:
            planner = service.enforcing.planner
            accounts = await planner.unsettled()
            if not dry_run and accounts and not planner.acts:
                fail("nothing is shut while observing, or with enforcement.dry_run", 2)
            if dry_run:
                return [(name, "; ".join(await planner.planned(name))) for name in accounts]
            return [(name, await planner.settle(name, "sync")) for name in accounts]

    found = run(work(settings_of(config)))
    if json:
        show_json([{"account": name, "outcome": outcome} for name, outcome in found])
        return
    show_table(("account", "would be done" if dry_run else "done"), found, empty="everything is as it should be")
