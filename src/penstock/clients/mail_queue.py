"""The mail server's queue, through its own commands: list it, hold messages in it, let them go, remove them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from penstock.protocols.mail_queue import Queued, read_exim, read_postfix

_LIST_S = 120.0
_ACT_S = 300.0
_AT_ONCE = 500


class Commands(Struct, frozen=True):
    """How one mail server is asked. A command for ids gets them on standard input, or (`with_ids`) as arguments."""

    show: tuple[str, ...]
    hold: tuple[str, ...]
    release: tuple[str, ...]
    purge: tuple[str, ...]
    read: Callable[[Iterable[bytes], float], Iterator[Queued]]
    with_ids: bool = False


def postfix(folder: str = "") -> Commands:
    """Postfix; `folder` is its configuration, where that is not the default. Needs root but for `show`."""
    more = ("-c", folder) if folder else ()
    return Commands(
        ("postqueue", *more, "-j"),
        ("postsuper", *more, "-h", "-"),
        ("postsuper", *more, "-H", "-"),
        ("postsuper", *more, "-d", "-"),
        read_postfix,
    )


def exim() -> Commands:
    """Exim; who may do this is in its configuration (`admin_groups`)."""
    return Commands(("exim", "-bp"), ("exim", "-Mf"), ("exim", "-Mt"), ("exim", "-Mrm"), read_exim, True)


class MailQueue:
    """One mail server's queue."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def show(self) -> list[Queued]:
        """What lies in it. Raises OSError where it cannot be asked, and ValueError where it answers something else."""
        output = await _run(self._commands.show, b"", _LIST_S)
        return list(self._commands.read(output.splitlines(), time.time()))

    async def hold(self, queue_ids: Sequence[str]) -> None:
        """Keep messages where they are, until they are released. Raises OSError."""
        await self._act(self._commands.hold, queue_ids)

    async def release(self, queue_ids: Sequence[str]) -> None:
        """Let held messages go on. Raises OSError."""
        await self._act(self._commands.release, queue_ids)

    async def purge(self, queue_ids: Sequence[str]) -> None:
        """Remove messages for good, without a bounce. Raises OSError."""
        await self._act(self._commands.purge, queue_ids)

    async def _act(self, command: tuple[str, ...], queue_ids: Sequence[str]) -> None:
        for start in range(0, len(queue_ids), _AT_ONCE):
            some = queue_ids[start : start + _AT_ONCE]
            if self._commands.with_ids:
                await _run((*command, *some), b"", _ACT_S)
            else:
                await _run(command, "".join(f"{one}\n" for one in some).encode(), _ACT_S)


async def _run(command: tuple[str, ...], given: bytes, bound_s: float) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(bound_s):
            output, said = await process.communicate(given)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise OSError(f"{' '.join(command[:3])} gave no answer within {bound_s:.0f} s") from None
    if process.returncode:
        words = said.decode("utf-8", "replace").strip()[:300]
        raise OSError(f"{' '.join(command[:3])} ended with {process.returncode}: {words}")
    return output
