"""Asks the configured scanners about a submission: all together, each within the deadline, none of them needed.

A scanner that does not answer is a value, not an error. One that has failed a few times in a row is left alone for a
while, so that it costs nothing; then a single message tries it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from penstock.config import Settings
from penstock.model import Opinion, Submission
from penstock.protocols import clamd, rspamd_client, spamd

_MOST_REPLY_BYTES = 1024 * 1024
_FAILURES = 3
_REST_S = 30.0


class Scanner(Struct, frozen=True):
    """One scanner's place and language."""

    name: str
    address: str
    """`host:port` or `unix:/path`."""
    request: Callable[[Submission], bytes]
    read: Callable[[bytes], Opinion]
    """Raises ValueError."""


def rspamd(address: str, password: str) -> Scanner:
    """An rspamd's normal worker, port 11333."""
    return Scanner("rspamd", address, lambda one: rspamd_client.check_request(one, password), rspamd_client.read_reply)


def spamassassin(address: str, user: str) -> Scanner:
    """A spamd, port 783."""
    return Scanner("spamassassin", address, lambda one: spamd.check_request(one.raw, user), spamd.read_reply)


def clamav(address: str) -> Scanner:
    """A clamd, port 3310 or a socket."""
    return Scanner("clamav", address, lambda one: clamd.stream_request(one.raw), clamd.read_reply)


class Asker:
    """Asks; one for a process."""

    def __init__(
        self,
        scanners: tuple[Scanner, ...],
        *,
        deadline_s: float,
        max_bytes: int,
        clock: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        """`max_bytes` is the largest message that is asked about; `clock` is monotonic."""
        self._scanners = scanners
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._count = count
        self._failures = dict.fromkeys((one.name for one in scanners), 0)
        self._rests_until = dict.fromkeys((one.name for one in scanners), 0.0)

    async def ask(self, submission: Submission) -> tuple[Opinion, ...]:
        """Everybody's opinion; those without an answer say why. Takes no longer than the deadline, never raises."""
        if len(submission.raw) > self._max_bytes:
            return tuple(Opinion(one.name, trouble="larger than max_bytes") for one in self._scanners)
        return tuple(await asyncio.gather(*(self._one(scanner, submission) for scanner in self._scanners)))

    async def _one(self, scanner: Scanner, submission: Submission) -> Opinion:
        name, now = scanner.name, self._clock()
        if self._rests_until[name] > now:
            return Opinion(name, trouble="left alone after failures")
        if self._failures[name] >= _FAILURES:
            self._rests_until[name] = now + _REST_S  # the others go by while this one tries it
        try:
            async with asyncio.timeout(self._deadline_s):
                opinion = scanner.read(await exchange(scanner.address, scanner.request(submission)))
        except (OSError, ValueError, TimeoutError) as trouble:
            self._count(f"scanner-{name}-failed")
            self._failures[name] += 1
            if self._failures[name] >= _FAILURES:
                self._rests_until[name] = self._clock() + _REST_S
            return Opinion(name, trouble=str(trouble)[:200] or f"no answer in {self._deadline_s:g} s")
        self._failures[name], self._rests_until[name] = 0, 0.0
        return opinion


def asker_of(settings: Settings, *, clock: Callable[[], float], count: Callable[[str], None]) -> Asker | None:
    """Who asks the configured scanners; None where there are none."""
    section, found = settings.scanners, list[Scanner]()
    if section.rspamd.address:
        found.append(rspamd(section.rspamd.address, section.rspamd.password))
    if section.spamassassin.address:
        found.append(spamassassin(section.spamassassin.address, section.spamassassin.user))
    if section.clamav.address:
        found.append(clamav(section.clamav.address))
    if not found:
        return None
    return Asker(tuple(found), deadline_s=section.deadline_s, max_bytes=section.max_bytes, clock=clock, count=count)


async def exchange(address: str, request: bytes) -> bytes:
    """Send a request and read until the other side closes. Raises OSError, and ValueError where it says too much."""
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        sending = asyncio.ensure_future(_send(writer, request))
        try:
            data = bytearray()
            while chunk := await reader.read(65536):
                data += chunk
                if len(data) > _MOST_REPLY_BYTES:
                    raise ValueError("the reply is longer than a megabyte")
            return bytes(data)
        finally:
            sending.cancel()
    finally:
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, request: bytes) -> None:
    """A server may answer, and close, before it has read all; its answer counts then."""
    writer.write(request)
    try:
        await writer.drain()
    except OSError:
        return
