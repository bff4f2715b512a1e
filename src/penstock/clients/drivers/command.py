"""Any program: its arguments carry what is to be done; no shell ever reads them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.model import Rung, Step

_WAIT_STATUS = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""


class Command:
    """Runs a program for each step; 0 is done, 75 is later, everything else a refusal."""

    def __init__(self, arguments: Sequence[str], rungs: frozenset[Rung], timeout_s: float) -> None:
        """`arguments` have places: {verb} {rung} {name} {account} {reason} {key}."""
        self._arguments = tuple(arguments)
        self._timeout_s = timeout_s
        self.rungs = rungs

    def knows(self, step: Step) -> bool:
        """Everything."""
        return True

    def _filled(self, step: Step) -> list[str]:
        facts = {"verb": step.verb, "rung": step.thing.rung.value, "name": step.thing.name, "account": step.account}
        facts |= {"reason": step.reason, "key": step.key}
        return [_fill(one, facts) for one in self._arguments]

    def describe(self, step: Step) -> str:
        """The program with its arguments."""
        return f"run {' '.join(map(repr, self._filled(step)))}"

    async def carry_out(self, step: Step) -> str:
        """Run it once."""
        filled = self._filled(step)
        if any(
            one.startswith("-") and not given.startswith("-")
            for one, given in zip(filled, self._arguments, strict=True)
        ):
            raise Refused("a name that begins with a dash would pass for an option")
        output, status = await run_bounded(filled, self._timeout_s)
        if status == _WAIT_STATUS:
            raise Unavailable(f"{filled[0]} says later: {output}")
        if status:
            raise Refused(f"{filled[0]} ended with {status}: {output}")
        return f"{filled[0]} did it"

    async def close(self) -> None:
        """Nothing is open."""


def _fill(template: str, facts: dict[str, str]) -> str:
    """Put facts in their places, each once: what a fact says is never read as a place."""
    parts = template.split("{")
    filled = parts[0]
    for part in parts[1:]:
        name, closing, rest = part.partition("}")
        filled += facts[name] + rest if closing and name in facts else "{" + part
    return filled


async def run_bounded(arguments: Sequence[str], timeout_s: float, given: bytes = b"") -> tuple[str, int]:
    """What a program says, shortened, and its status. Raises Unavailable where it cannot be run or takes too long; then
    it is ended with everything that it started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as trouble:
        raise Unavailable(f"{arguments[0]} cannot be run: {trouble}") from None
    try:
        async with asyncio.timeout(timeout_s):
            said, _ = await process.communicate(given)
    except TimeoutError:
        raise Unavailable(f"{arguments[0]} gave no answer within {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return said.decode("utf-8", "replace").strip()[:300], process.returncode or 0
