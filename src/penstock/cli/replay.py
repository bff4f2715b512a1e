"""penstock replay: what would have happened to mail of the past; nothing is acted on."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from msgspec.structs import replace
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock.building import make_rules
from penstock.cli.mailboxes import is_mailbox, messages
from penstock.cli.output import err, fail, show_json, show_table
from penstock.cli.session import PLACES, Config, Json, run, settings_of
from penstock.config import Settings
from penstock.judge.message import parse
from penstock.model import Action, Connection, Decision, Envelope, Event, Mode, Submission, make_id
from penstock.pipeline import Pipeline, Unwatched
from penstock.protocols.maillog import Assembler, Transaction, read_line
from penstock.shipped import load_model
from penstock.store.memory import MemoryStore

_ADDRESS = re.compile(r"^[^@\s<>]+@[^@\s<>]+$")


class Past(Struct, frozen=True):
    """One message of the past."""

    at: float
    login: str
    client_ip: str
    mail_from: str
    rcpt_to: tuple[str, ...]
    raw: bytes
    bounced: tuple[tuple[str, str], ...] = ()
    """(recipient, reply) where the log tells."""


class Line(Struct):
    """One account's summary."""

    account: str
    messages: int = 0
    recipients: int = 0
    actions: Counter[str] = Counter()
    first_stopped: str = ""
    reason: str = ""
    standing: str = ""


def replay(
    source: Annotated[Path, typer.Argument(help="An mbox, a Maildir, a folder of messages, or a Postfix log.")],
    year: Annotated[int | None, typer.Option(help="Year of a log without one; this year where not given.")] = None,
    stopped: Annotated[bool, typer.Option("--stopped", help="Only accounts with something stopped.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Judge mail of the past, without acting, with a memory of its own; summary by account."""
    settings = settings_of(config) if config or any(place.is_file() for place in PLACES) else Settings()
    if not source.exists():
        fail(f"{source}: there is no such file or folder", 2)
    lines = run(_replay(settings, source, year or datetime.now().year))
    rows = [one for one in lines if not stopped or set(one.actions) - {"accept"}]
    if json:
        show_json(rows)
        return
    columns = ("account", "messages", "recipients", *Action, "standing", "first stopped (UTC)", "reason")
    show_table(
        columns,
        [
            (
                r.account,
                r.messages,
                r.recipients,
                *(r.actions[a] for a in Action),
                r.standing,
                r.first_stopped,
                r.reason,
            )
            for r in rows
        ],
        empty="no mail found",
    )


async def _replay(settings: Settings, source: Path, year: int) -> list[Line]:
    lines: dict[str, Line] = {}
    async for one, decision in judged(settings, source, year):
        _count(lines, one, decision)
    return sorted(lines.values(), key=lambda one: (-sum(one.actions.values()) + one.actions["accept"], one.account))


async def judged(settings: Settings, source: Path, year: int) -> AsyncIterator[tuple[Past, Decision]]:
    """Mail of the past in order of time, each judged as enforcing would have, with a memory of its own."""
    rules = make_rules(settings, b"replay")
    rules = replace(rules, mode=Mode.ENFORCE)
    clock = [0.0]
    store = MemoryStore(now=lambda: clock[0], keep_decisions=1)
    pipeline = Pipeline(store, load_model(settings), rules, Unwatched(), clock=time.perf_counter)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} messages"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        reading = progress.add_task(f"reading {source.name}")
        past = []
        for one in read_past(source, year):
            past.append(one)
            progress.advance(reading)
        past.sort(key=lambda one: one.at)
        judging = progress.add_task("judging", total=len(past))
        for number, one in enumerate(past):
            clock[0] = one.at
            yield one, await _judge(pipeline, one, number)
            progress.advance(judging)


async def _judge(pipeline: Pipeline, one: Past, number: int) -> Decision:
    connection = Connection(
        client_ip=one.client_ip, peer_ip="127.0.0.1", login=one.login, listener="milter", is_trusted_peer=True
    )
    submission = Submission(make_id(one.at, number), one.at, connection, Envelope(one.mail_from, one.rcpt_to), one.raw)
    decision = await pipeline.judge(submission)
    if decision.action is Action.ACCEPT:
        for recipient, reply in one.bounced:
            account = str(decision.account)
            await pipeline.absorb(Event(one.at + 1.0, "bounced", account, decision.id, recipient, detail=reply))
    return decision


def _count(lines: dict[str, Line], one: Past, decision: Decision) -> None:
    name = str(decision.account)
    line = lines.setdefault(name, Line(name, actions=Counter()))
    line.messages += 1
    line.recipients += len(one.rcpt_to)
    line.actions[decision.action.value] += 1
    line.standing = decision.standing.value
    if decision.action is not Action.ACCEPT and not line.first_stopped:
        line.first_stopped, line.reason = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(one.at)), decision.reason


def read_past(source: Path, year: int) -> Iterator[Past]:
    """Every message of a source; what cannot be read as mail is left out."""
    if not is_mailbox(source):
        yield from read_log(source, year)
        return
    for raw in messages(source):
        yield from of_message(raw)


def of_message(raw: bytes) -> Iterator[Past]:
    """A message found in a mailbox: its From is the account, To, Cc and Bcc are its recipients, Date its time."""
    parsed = parse(raw)
    sender = parsed.header("return-path").strip("<> ") or parsed.from_address
    fields = [value for name, value in parsed.headers if name in ("to", "cc", "bcc")]
    recipients = tuple(dict.fromkeys(address.lower() for _, address in getaddresses(fields) if _ADDRESS.match(address)))
    try:
        at = parsedate_to_datetime(parsed.header("date")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return
    if recipients and at > 0:
        yield Past(at, parsed.from_address or sender, "", sender, recipients, raw)


def read_log(source: Path, year: int) -> Iterator[Past]:
    """Transactions of a Postfix log; what they said is not in a log, so only recipients and answers are judged."""
    assembler = Assembler()
    is_postfix = False
    with source.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            line = read_line(text, year=year)
            if line is None:
                continue
            is_postfix = True
            done = assembler.add(line)
            if done is not None:
                yield from of_transaction(done)
    for done in assembler.rest():
        yield from of_transaction(done)
    if not is_postfix:
        fail(f"{source}: neither an mbox, a Maildir, a folder of messages nor a Postfix log", 2)


def of_transaction(done: Transaction) -> Iterator[Past]:
    """A transaction as a message without content."""
    if not done.recipients:
        return
    recipients = tuple(done.recipients)
    bounced = tuple((one.address, one.reply) for one in done.recipients.values() if one.status == "bounced")
    login = done.login
    raw = f"Message-ID: <{done.message_id}>\r\n\r\n".encode()
    yield Past(done.at, login, done.client_ip, done.mail_from, recipients, raw, bounced)
