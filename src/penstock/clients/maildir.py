"""A Maildir as next hop, for trying things out: what would be delivered lies there as files."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from penstock.clients.next_hop import NextHopUnavailable, Transaction, send_through
from penstock.model import Reply

_OK = Reply(250, "2.1.0", "Ok")
_numbers = itertools.count()


class MaildirNextHop:
    """Writes each message into `new/`, whole and synced, with its envelope in two header fields."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self, mail_from: str, parameters: tuple[str, ...], rcpt_to: Sequence[str] = ()) -> Transaction:
        """Begin a message."""
        return _MaildirTransaction(self._folder, mail_from)

    async def send(
        self, mail_from: str, rcpt_to: Sequence[str], parameters: tuple[str, ...], raw: bytes
    ) -> tuple[tuple[str, int, str], ...]:
        """A whole message at once."""
        return await send_through(self, mail_from, rcpt_to, parameters, raw)

    async def check(self) -> str:
        """Whether the folder can be written."""
        try:
            await asyncio.to_thread(_make, self._folder)
        except OSError as trouble:
            raise NextHopUnavailable(Reply(451, "4.3.0", f"the sink cannot be written: {trouble}")) from trouble
        return "a Maildir"

    async def close(self) -> None:
        """Nothing is open."""


class _MaildirTransaction:
    def __init__(self, folder: Path, mail_from: str) -> None:
        self.mail = _OK
        self._folder = folder
        self._mail_from = mail_from
        self._rcpt_to: list[str] = []

    async def rcpt(self, address: str) -> Reply:
        """Everybody is known."""
        self._rcpt_to.append(address)
        return Reply(250, "2.1.5", "Ok")

    async def data(self, raw: bytes) -> Reply:
        """Write the message."""
        head = f"Return-Path: <{self._mail_from}>\r\nX-Penstock-Sink-To: {', '.join(self._rcpt_to)}\r\n".encode()
        try:
            name = await asyncio.to_thread(_write, self._folder, head + raw)
        except OSError as trouble:
            raise NextHopUnavailable(Reply(451, "4.3.0", "The sink cannot be written"), str(trouble)) from trouble
        return Reply(250, "2.0.0", f"Ok: {name}")

    async def abort(self) -> None:
        """Nothing was written yet."""


def _make(folder: Path) -> None:
    for name in ("tmp", "new", "cur"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def _write(folder: Path, data: bytes) -> str:
    _make(folder)
    name = f"{time.time():.6f}.{os.getpid()}_{next(_numbers)}.{socket.gethostname()}"
    with (folder / "tmp" / name).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    (folder / "tmp" / name).rename(folder / "new" / name)
    handle = os.open(folder / "new", os.O_RDONLY)
    try:
        os.fsync(handle)  # the name too is on disk
    finally:
        os.close(handle)
    return name
