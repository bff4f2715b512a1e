"""penstock feedback read and reply: what a bounce, a complaint or a receiver's reply means, without taking it in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from penstock.cli.output import fail, out, show_json, show_table
from penstock.cli.session import Json
from penstock.protocols import dsn
from penstock.protocols.arf import Complaint
from penstock.protocols.dsn import Bounce
from penstock.protocols.receivers import ReplyMeaning
from penstock.protocols.reports import MOST_BYTES, Original
from penstock.protocols.returned import read_returned
from penstock.shipped import load_replies


class RecipientRead(Struct, frozen=True):
    """What became of one recipient, and what that means."""

    recipient: str
    action: str
    words: str
    meaning: ReplyMeaning


class FileRead(Struct, frozen=True):
    """What one message that came back says."""

    file: str
    what: str
    """`bounce`, a kind of complaint, `auto-reply`, or `unknown`."""
    recipients: tuple[RecipientRead, ...] = ()
    original: Original = Original()


def read(
    files: Annotated[list[Path], typer.Argument(help="Messages that came back.")],
    json: Json = False,
) -> None:
    """Say what bounces and complaints mean, and whom they are about. Nothing is taken in."""
    replies, found = load_replies(), []
    for path in files:
        try:
            with path.open("rb") as file:
                raw = file.read(MOST_BYTES)
        except OSError as trouble:
            fail(str(trouble), 2)
        one = read_returned(raw)
        if isinstance(one, Bounce):
            recipients = tuple(
                RecipientRead(each.recipient, each.action, each.diagnostic or each.words, dsn.meaning(each, replies))
                for each in one.recipients
            )
            found.append(FileRead(str(path), "bounce", recipients, one.original))
        elif isinstance(one, Complaint):
            found.append(FileRead(str(path), one.kind, (), one.original))
        else:
            found.append(FileRead(str(path), "auto-reply" if one else "unknown"))
    if json:
        show_json(found)
        return
    columns = ("file", "what", "recipient", "reason", "level", "scope", "receiver", "words")
    rows = []
    for file_read in found:
        rows += [
            (file_read.file, file_read.what, one.recipient, *_words(one.meaning), one.words[:60])
            for one in file_read.recipients
        ] or [(file_read.file, file_read.what, "", "", "", "", "", "")]
    show_table(columns, rows, empty="nothing to read")


def reply(
    text: Annotated[str, typer.Argument(help="A receiver's reply, with or without code and status.")],
    domain: Annotated[str, typer.Option(help="The recipient's domain.")] = "",
    json: Json = False,
) -> None:
    """Say what a receiver's reply means."""
    meaning = load_replies().read(text, domain=domain)
    if json:
        show_json(meaning)
        return
    reason, level, scope, receiver = _words(meaning)
    out.print(f"{reason}  ({level}, scope {scope})", highlight=False)
    for name, value in (
        ("receiver", receiver),
        ("list", meaning.blocklist),
        ("IP named", meaning.named_ip),
        ("see", meaning.url),
    ):
        if value:
            out.print(f"{name:9} {value}", highlight=False, markup=False)


def _words(meaning: ReplyMeaning) -> tuple[str, str, str, str]:
    return meaning.reason.value, meaning.level.value, meaning.scope.value, meaning.receiver
