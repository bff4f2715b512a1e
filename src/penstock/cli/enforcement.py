"""penstock enforcement: what is shut where accounts live, what waits to be shut, and what would be."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from penstock.cli.accounts import named
from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.config import Settings
from penstock.model import Step
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
