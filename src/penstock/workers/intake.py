"""Where what comes back comes from: logs and journals that are followed, mailboxes that are emptied."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from penstock.config import Settings
from penstock.model import Reply
from penstock.protocols.deliveries import FORMATS, Reader
from penstock.protocols.login_lines import logins
from penstock.protocols.reports import MOST_BYTES
from penstock.workers.feedback import Feedback

_AGAIN_S = 10.0
_MAILBOX_S = 5.0
_GATHER_S = 0.5
_MOST_LINES = 2000
_LONGEST_ENTRY = 1024 * 1024


class Intake:
    """Runs until it is cancelled; trouble with one of its sources is told, and tried again."""

    def __init__(
        self,
        settings: Settings,
        feedback: Feedback,
        failed: Callable[[str, BaseException], None],
        *,
        journalctl: str = "journalctl",
    ) -> None:
        self._settings = settings.feedback
        self._logins = settings.logins
        self._feedback = feedback
        self._reader = log_reader(settings.feedback.log_format)
        self._login_reader = login_reader()
        self._journalctl = journalctl
        self._failed = failed

    async def run(self) -> None:
        """Read from all sources at once."""
        async with asyncio.TaskGroup() as group:
            for path in self._settings.logs:
                group.create_task(self._again(f"log {path}", partial(self._feedback.follow, path, self._reader)))
            for path in self._logins.logs:
                follow = partial(self._feedback.follow, path, self._login_reader)
                group.create_task(self._again(f"login log {path}", follow))
            for folder in self._settings.mailboxes:
                group.create_task(self._again(f"mailbox {folder}", partial(self._empty_often, folder)))
            for units, reader in (
                (self._settings.journal_units, self._reader),
                (self._logins.journal_units, self._login_reader),
            ):
                if units:
                    group.create_task(self._again("journal", partial(self._follow_journal, units, reader)))

    async def _again(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as trouble:
                self._failed(name, trouble)
            await asyncio.sleep(_AGAIN_S)

    async def _empty_often(self, folder: Path) -> None:
        while True:
            await empty(folder, self._feedback)
            await asyncio.sleep(_MAILBOX_S)

    async def _follow_journal(self, units: list[str], reader: Reader) -> None:
        key = f"{'journal' if reader is self._reader else 'login-journal'}:{','.join(units)}"
        cursor = await self._feedback.kept_place(key)
        command = [self._journalctl, "--output=json", "--follow", "--no-tail" if cursor else "--lines=0"]
        command += [f"--after-cursor={cursor.decode()}"] if cursor else []
        command += [f"--unit={unit}" for unit in units]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL, limit=_LONGEST_ENTRY
        )
        assert process.stdout is not None
        try:
            while lines := await _gathered(process.stdout):
                entries = [one for line in lines if (one := _Entry.read(line)) is not None]
                await self._feedback.take_block(b"".join(one.as_line() for one in entries), reader)
                if entries:
                    await self._feedback.keep_place(key, entries[-1].cursor.encode())
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        raise OSError(f"{self._journalctl} ended with {process.returncode}")


def log_reader(log_format: str) -> Reader:
    """A reader of delivery logs that are written in this machine's time."""
    return Reader(FORMATS[log_format], datetime.now().astimezone().tzinfo or UTC)


def login_reader() -> Reader:
    """A reader of logs that tell of logins, whoever writes them."""
    return Reader(logins, datetime.now().astimezone().tzinfo or UTC, place_kind="login-log")


class _Entry(Struct, frozen=True):
    """What of an entry of the journal is needed; see systemd.journal-fields(7)."""

    cursor: str = msgspec.field(name="__CURSOR", default="")
    time_us: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    identifier: str = msgspec.field(name="SYSLOG_IDENTIFIER", default="-")
    pid: str = msgspec.field(name="_PID", default="0")

    @classmethod
    def read(cls, line: bytes) -> _Entry | None:
        try:
            found = msgspec.json.decode(line, type=cls)
            return found if found.cursor and found.time_us.isdigit() else None
        except msgspec.DecodeError:
            return None

    def as_line(self) -> bytes:
        """The entry as a syslog file would have it; text that is no UTF-8 comes as numbers."""
        text = (
            bytes(one & 255 for one in self.message).decode("utf-8", "replace")
            if isinstance(self.message, list)
            else self.message
        )
        at = datetime.fromtimestamp(int(self.time_us[:16]) / 1e6, UTC).isoformat()
        plain = " ".join((text or "").split("\n"))
        return f"{at} localhost {self.identifier}[{self.pid}]: {plain}\n".encode()


async def _gathered(stream: asyncio.StreamReader) -> list[bytes]:
    """The next lines, as many as come close together; empty at the end."""
    lines = [await stream.readline()]
    if not lines[0]:
        return []
    try:
        async with asyncio.timeout(_GATHER_S):
            while len(lines) < _MOST_LINES and (line := await stream.readline()):
                lines.append(line)
    except TimeoutError:
        pass
    return lines


async def handed_in(raw: bytes, feedback: Feedback) -> Reply:
    """Take in one message that the mail server hands over, and what it is told. Raises StoreUnavailable."""
    taken = await feedback.take_mail(raw)
    if taken.what == "unknown":
        return Reply(550, "5.6.0", "This address takes bounces and complaints only; this message is neither")
    return Reply(250, "2.0.0", f"Ok: {taken.what}")


async def empty(folder: Path, feedback: Feedback) -> int:
    """Take in what is new in a Maildir; how many messages. Raises OSError where it is none, and StoreUnavailable."""
    count = 0
    for name in await asyncio.to_thread(_names, folder):
        raw = await asyncio.to_thread(_content, folder / "new" / name)
        await feedback.take_mail(raw)
        # What dies before this is read again, and counts once by its key.
        await asyncio.to_thread(os.rename, folder / "new" / name, folder / "cur" / f"{name}:2,S")
        count += 1
    return count


def _names(folder: Path) -> list[str]:
    (folder / "cur").mkdir(exist_ok=True)
    return sorted(one.name for one in (folder / "new").iterdir() if not one.name.startswith("."))


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)
