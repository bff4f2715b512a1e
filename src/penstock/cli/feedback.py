"""penstock feedback and penstock report: what comes back, handed in by hand, by pipe, or from a mailbox."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from msgspec import Struct
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from penstock.cli import returned
from penstock.cli.output import err, fail, out, show_json, show_table
from penstock.cli.session import Config, Json, opened, run, settings_of
from penstock.config import Settings
from penstock.protocols import arf
from penstock.protocols.postmaster import PostmasterRow, read_postmaster
from penstock.protocols.reports import MOST_BYTES, read_report
from penstock.protocols.returned import read_returned
from penstock.protocols.snds import SndsRow, read_snds
from penstock.workers.feedback import Taken
from penstock.workers.intake import empty, log_reader

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Take in what comes back: bounces, complaints, delivery logs.")
app.command()(returned.read)
app.command()(returned.reply)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be taken in, and take in nothing.")]


class Told(Struct, frozen=True):
    """What a message that came back says, for people."""

    file: str
    what: str
    account: str
    decision_id: str
    counted: int


class PostmasterLine(Struct, frozen=True):
    """A row of postmaster data, and whom it is about."""

    account: str
    """Empty where the row has no identifier of ours."""
    row: PostmasterRow


@app.command()
def pipe(
    complaint: Annotated[bool, typer.Option(help="Whatever comes is a complaint, e.g. moved to Junk.")] = False,
    config: Config = None,
) -> None:
    """Take in one message from standard input: for aliases, .forward, an Exim pipe, Sieve."""
    raw = sys.stdin.buffer.read(MOST_BYTES)

    async def work(settings: Settings) -> None:
        async with opened(settings) as service:
            found = arf.by_hand(read_report(raw)) if complaint else None
            await service.feedback().take_mail(raw, complaint=found)

    run(work(settings_of(config)))


@app.command()
def mailbox(
    folder: Annotated[Path, typer.Argument(help="A Maildir; what was read moves from new to cur.")],
    config: Config = None,
) -> None:
    """Take in all new messages of a Maildir, once. The daemon does so by itself with feedback.mailboxes."""

    async def work(settings: Settings) -> int:
        async with opened(settings) as service:
            return await empty(folder, service.feedback())

    out.print(f"{run(work(settings_of(config)))} messages read", highlight=False)


@app.command()
def logs(
    files: Annotated[list[Path], typer.Argument(help="Delivery logs; each goes on where it was left.")],
    log_format: Annotated[
        Literal["postfix", "exim", "sendmail"] | None, typer.Option("--format", help="As configured, where not given.")
    ] = None,
    config: Config = None,
) -> None:
    """Take in delivery logs, once. The daemon follows those in feedback.logs by itself."""

    async def work(settings: Settings) -> int:
        async with opened(settings) as service:
            reader, feedback = log_reader(log_format or settings.feedback.log_format), service.feedback()
            lines = 0
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            with Progress(*columns, console=err, transient=True) as progress:
                for path in files:
                    task = progress.add_task(path.name, total=path.stat().st_size)
                    lines += await feedback.catch_up(path.absolute(), reader, from_start=True)
                    progress.update(task, completed=path.stat().st_size)
            return lines

    out.print(f"{run(work(settings_of(config)))} lines read", highlight=False)


def report(
    files: Annotated[list[Path], typer.Argument(help="Abuse reports as mail, ARF or forwarded; or SNDS data (CSV).")],
    snds: Annotated[bool, typer.Option("--snds", help="The files are Microsoft's SNDS data.")] = False,
    postmaster: Annotated[
        bool, typer.Option("--postmaster", help="The files are Postmaster Tools data (CSV).")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Hand in abuse reports: each leads to the account and message that it is about, and counts as a complaint."""
    contents = {path: _content(path) for path in files}
    if snds:
        _tell_snds([row for raw in contents.values() for row in _csv(raw, read_snds)], json)
        return
    if postmaster:
        rows_ = [row for raw in contents.values() for row in _csv(raw, read_postmaster)]
        _tell_postmaster(run(_named(settings_of(config), rows_)), json)
        return

    async def work(settings: Settings) -> list[Told]:
        async with opened(settings) as service:
            feedback, told = service.feedback(), []
            for path, raw in contents.items():
                found = read_returned(raw)
                complaint = found if isinstance(found, arf.Complaint) else arf.by_hand(read_report(raw))
                if dry_run:
                    decision_id, account = await feedback.trace(raw, complaint.original)
                    taken = Taken(complaint.kind, account, decision_id)
                else:
                    taken = await feedback.take_mail(raw, complaint=complaint)
                told.append(Told(str(path), taken.what, taken.account, taken.decision_id, taken.counted))
            return told

    rows = run(work(settings_of(config)))
    if json:
        show_json(rows)
    else:
        columns = ("file", "what", "account", "decision", "counted")
        lines = [(r.file, r.what, r.account or "nobody's", r.decision_id, r.counted) for r in rows]
        show_table(columns, lines, empty="nothing to report")
    if not all(one.account for one in rows):
        raise typer.Exit(1)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError as trouble:
        fail(str(trouble), 2)


def _csv(raw: bytes, read: Callable[[Iterable[list[str]]], list[T]]) -> list[T]:
    try:
        return read(csv.reader(raw.decode("utf-8-sig", "replace").splitlines()))
    except (ValueError, csv.Error) as trouble:
        fail(str(trouble), 2)


async def _named(settings: Settings, rows: list[PostmasterRow]) -> list[PostmasterLine]:
    """The rows, worst first, with the accounts that their identifiers stand for."""
    async with opened(settings) as service:
        feedback = service.feedback()
        rows = sorted(rows, key=lambda row: (-row.severity, -(row.spam_rate or 0.0), row.day))
        accounts = [await feedback.account_of_tag(row.identifier) for row in rows]
    return [PostmasterLine(account, row) for account, row in zip(accounts, rows, strict=True)]


def _tell_postmaster(lines: list[PostmasterLine], json: bool) -> None:
    if json:
        show_json(lines)
        return
    columns = ("day", "domain", "ip", "identifier", "account", "called spam", "reputation")
    shown = [
        (
            one.row.day, one.row.domain, one.row.ip, one.row.identifier, one.account,
            "-" if one.row.spam_rate is None else f"{one.row.spam_rate:.2%}", one.row.reputation,
        )
        for one in lines
    ]  # fmt: skip
    show_table(columns, shown, empty="no data")


def _tell_snds(rows: list[SndsRow], json: bool) -> None:
    rows.sort(key=lambda row: (-row.severity, row.ip))
    if json:
        show_json(rows)
        return
    columns = ("ip", "from", "to", "recipients", "filter", "complaints", "traps", "helo", "comment")
    show_table(
        columns,
        [(r.ip, r.began, r.ended, r.recipients, r.verdict, r.complaint_rate, r.traps, r.helo, r.comment) for r in rows],
        empty="no data",
    )
