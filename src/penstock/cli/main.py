"""penstock: one command, one file a group of commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import penstock
from penstock.cli import (
    accounts,
    cases,
    config,
    decisions,
    enforcement,
    evaluate,
    feedback,
    held,
    learn,
    lists,
    logins,
    people,
    pools,
    queue,
)
from penstock.cli.check import check
from penstock.cli.delist import delist
from penstock.cli.demo import demo
from penstock.cli.doctor import doctor
from penstock.cli.monitor import monitor
from penstock.cli.password import password
from penstock.cli.replay import replay
from penstock.cli.run import run
from penstock.cli.train import train

app = typer.Typer(
    name="penstock",
    help="The gate on a mail provider's outgoing flow.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"penstock {penstock.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and end.")
    ] = False,
) -> None:
    """The gate on a mail provider's outgoing flow."""


app.command()(run)
app.command()(demo)
app.command()(doctor)
app.command()(check)
app.command()(monitor)
app.command()(delist)
app.add_typer(lists.app, name="lists")
app.add_typer(config.app, name="config")
app.add_typer(accounts.app, name="accounts")
app.add_typer(logins.app, name="logins")
app.add_typer(enforcement.app, name="enforcement")
app.add_typer(held.app, name="held")
app.add_typer(pools.app, name="pools")
app.add_typer(cases.app, name="cases")
app.add_typer(learn.app, name="learn")
app.command()(decisions.decisions)
app.command()(decisions.explain)
app.command()(decisions.trace)
app.add_typer(feedback.app, name="feedback")
app.add_typer(queue.app, name="queue")
app.command()(feedback.report)
app.add_typer(people.app, name="people")
app.add_typer(people.tokens, name="tokens")
app.command()(replay)
app.command()(password)
app.command()(train)
app.add_typer(evaluate.app, name="evaluate")


def main() -> None:
    """The entry point; a reader that closes the pipe early is no error."""
    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
