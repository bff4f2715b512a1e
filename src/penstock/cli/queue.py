"""penstock queue: what the mail server still has to deliver, by account; hold it, let it go, remove it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal

import typer

from penstock.cli.accounts import named
from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of, who
from penstock.clients.mail_queue import MailQueue, exim, postfix
from penstock.config import Settings
from penstock.model import Audit
from penstock.store.ports import Records
from penstock.workers.mail_queue import Share, by_account

app = typer.Typer(help="What the mail server still has to deliver, by account.", invoke_without_command=True)
Account = Annotated[str, typer.Argument(help="kind:value, or a login.")]
Mta = Annotated[
    Literal["postfix", "exim"] | None, typer.Option("--mta", help="As feedback.log_format, where not given.")
]
PostfixFolder = Annotated[str, typer.Option(help="Postfix's configuration folder.", show_default="Postfix's own")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def _queue(settings: Settings, mta: str | None, folder: str) -> MailQueue:
    kind = mta or settings.feedback.log_format
    if kind not in ("postfix", "exim"):
        fail(f'the queue of "{kind}" cannot be read; name postfix or exim by --mta', 2)
    return MailQueue(postfix(folder) if kind == "postfix" else exim())


@app.callback()
def show(
    context: typer.Context,
    mta: Mta = None,
    postfix_folder: PostfixFolder = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Show who fills the queue, most waiting recipients first."""
    if context.invoked_subcommand is not None:
        return

    async def work(settings: Settings) -> list[Share]:
        async with opened(settings) as service:
            return await by_account(service.store, await _queue(settings, mta, postfix_folder).show())

    shares = run(work(settings_of(config)))
    if json:
        show_json(shares)
        return
    columns = ("account", "messages", "rcpts", "held", "oldest (h)", "KB", "why")
    rows = [
        (s.account, s.messages, s.recipients, s.held, f"{s.oldest_s / 3600:.1f}", s.size_bytes // 1024, s.reason[:60])
        for s in shares
    ]
    show_table(columns, rows, empty="the queue is empty")


def _act(
    account: str,
    what: str,
    choose: Callable[[MailQueue], Callable[[Sequence[str]], Awaitable[None]]],
    place: tuple[str | None, str, Config],
    *,
    reason: str,
    dry_run: bool,
) -> None:
    name = named(account)
    mta, folder, config = place

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            queue = _queue(settings, mta, folder)
            shares = await by_account(service.store, await queue.show())
            mine = next((one for one in shares if one.account == name), None)
            if mine is None:
                out.print(f"{name} has nothing in the queue", highlight=False)
                return
            text = f"{mine.messages} messages to {mine.recipients} recipients"
            if dry_run:
                out.print(f"{text} would be {what}", highlight=False)
                return
            await choose(queue)(mine.queue_ids)
            entry = Audit(time.time(), who(), f"queue-{what}", name, reason, text)
            await service.store.update((), lambda: Records(audit=(entry,)))
            out.print(f"{text} {what}", highlight=False)

    run(work(settings_of(config)))


@app.command()
def hold(
    account: Account,
    reason: Reason = "",
    dry_run: DryRun = False,
    mta: Mta = None,
    postfix_folder: PostfixFolder = "",
    config: Config = None,
) -> None:
    """Keep an account's queued mail where it is, until it is released."""
    place = (mta, postfix_folder, config)
    _act(account, "held", lambda queue: queue.hold, place, reason=reason, dry_run=dry_run)


@app.command()
def release(
    account: Account,
    reason: Reason = "",
    dry_run: DryRun = False,
    mta: Mta = None,
    postfix_folder: PostfixFolder = "",
    config: Config = None,
) -> None:
    """Let an account's held mail go on."""
    place = (mta, postfix_folder, config)
    _act(account, "released", lambda queue: queue.release, place, reason=reason, dry_run=dry_run)


@app.command()
def purge(
    account: Account,
    reason: Reason = "",
    dry_run: DryRun = False,
    mta: Mta = None,
    postfix_folder: PostfixFolder = "",
    config: Config = None,
) -> None:
    """Remove an account's queued mail for good, without bounces."""
    place = (mta, postfix_folder, config)
    _act(account, "removed", lambda queue: queue.purge, place, reason=reason, dry_run=dry_run)
