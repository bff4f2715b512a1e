"""A real daemon in the foreground: started, waited for, and bound to the process that tests with it."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path


def die_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def launch(command: Sequence[str | Path], out: Path) -> subprocess.Popen[bytes]:
    """Start a daemon, which says what it has to say into `out`; a test run that is killed leaves none behind."""
    with out.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, preexec_fn=die_with_parent)


async def until_up(process: subprocess.Popen[bytes], is_up: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it answers. Raises TimeoutError, and AssertionError where it has ended."""
    async with asyncio.timeout(20):
        while not await is_up():
            assert process.poll() is None, "it has ended"
            await asyncio.sleep(0.05)
