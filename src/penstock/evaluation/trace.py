"""A trace is a folder: `events.jsonl`, ordered by time, and the messages that it names.

It is read strictly: whatever is not as the format says stops the reading with the number of its line, because a
silently dropped event would make every figure that follows wrong. Unknown fields are allowed, for notes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec
from msgspec import Struct

from penstock.model import Account

EVENTS_FILE = "events.jsonl"
LONGEST_LINE_BYTES = 4 * 1024 * 1024


class TraceError(Exception):
    """The folder is no trace; the text says where and why."""


class Source(Struct, frozen=True):
    """Where a message or login came from."""

    ip: str = ""
    helo: str = ""
    client: str = ""


class MessageSent(Struct, frozen=True, tag_field="type", tag="message"):
    """An account hands in a message."""

    t: float
    id: str
    account: str
    mail_from: str
    rcpt_to: tuple[str, ...]
    file: str
    """Relative to the trace's folder; several events may name the same file."""
    truth: Literal["legit", "abuse"]
    """For the scorer of the evaluation alone, as are `model` and `campaign`; nothing in judging may read them."""
    source: Source = Source()
    model: str | None = None
    """The attack model (A1-A10), hard negative (N1-N11) or placebo (P1-P10) that wrote it; None for ordinary mail."""
    campaign: str | None = None


class DeliverySeen(Struct, frozen=True, tag_field="type", tag="delivery"):
    """What became of one recipient of a message; happens only if the message left."""

    t: float
    id: str
    rcpt: str
    status: Literal["delivered", "bounced", "deferred"]
    reply: str = ""


class LoginSeen(Struct, frozen=True, tag_field="type", tag="login"):
    """Somebody logs in, or fails to."""

    t: float
    account: str
    source: Source = Source()
    service: Literal["smtp", "imap", "web"] = "smtp"
    ok: bool = True


class ComplaintSeen(Struct, frozen=True, tag_field="type", tag="complaint"):
    """A receiver complains about a message; happens only if the message left."""

    t: float
    id: str


class PasswordChanged(Struct, frozen=True, tag_field="type", tag="password"):
    """Credentials were changed: the account is its owner's again."""

    t: float
    account: str


TraceEvent = MessageSent | DeliverySeen | LoginSeen | ComplaintSeen | PasswordChanged


class Trace:
    """A trace on disk; its events can be read more than once."""

    def __init__(self, folder: Path) -> None:
        """Raises TraceError where the folder has no events."""
        self.folder = folder
        self._file = folder / EVENTS_FILE
        if not self._file.is_file():
            raise TraceError(f"{folder} is no trace: it has no {EVENTS_FILE}")

    def events(self) -> Iterator[TraceEvent]:
        """Every event in order. Raises TraceError with the line that is wrong."""
        decoder = msgspec.json.Decoder(TraceEvent)
        checks = _Checks(self.folder)
        with self._file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    if len(line) > LONGEST_LINE_BYTES:
                        raise ValueError(f"a line may have {LONGEST_LINE_BYTES} bytes")
                    event = decoder.decode(line)
                    checks.check(event)
                except (msgspec.DecodeError, ValueError) as error:
                    raise TraceError(f"{self._file}:{number}: {error}") from error
                yield event

    def raw(self, message: MessageSent) -> bytes:
        """The message as it would be handed in, with CRLF line ends. Raises TraceError where the file is gone."""
        try:
            raw = (self.folder / message.file).read_bytes()
        except OSError as error:
            raise TraceError(f"message {message.id}: {error}") from error
        return raw if b"\r\n" in raw else raw.replace(b"\n", b"\r\n")


class _Checks:
    """What one line cannot show about itself: order, doubles, and whether what it names exists."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = float("-inf")
        self._ids: set[str] = set()
        self._files: set[str] = set()

    def check(self, event: TraceEvent) -> None:
        if not event.t >= self._last:
            raise ValueError(f"events are ordered by time; {event.t} comes after {self._last}")
        self._last = event.t
        if isinstance(event, DeliverySeen | ComplaintSeen):
            if event.id not in self._ids:
                raise ValueError(f'no message "{event.id}" was sent before')
            return
        Account.parse(event.account)
        if isinstance(event, MessageSent):
            self._check_message(event)

    def _check_message(self, event: MessageSent) -> None:
        if event.id in self._ids:
            raise ValueError(f'message "{event.id}" is there twice')
        self._ids.add(event.id)
        if not event.rcpt_to:
            raise ValueError(f'message "{event.id}" has no recipients')
        if event.truth == "abuse" and event.campaign is None and event.model is None:
            raise ValueError(f'abuse "{event.id}" names neither its model nor its campaign')
        if event.file not in self._files:
            path = PurePosixPath(event.file)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f'"{event.file}" leads out of the trace')
            if not (self._folder / path).is_file():
                raise ValueError(f'there is no file "{event.file}"')
            self._files.add(event.file)
