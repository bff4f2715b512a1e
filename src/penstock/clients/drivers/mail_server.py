"""Postfix and Exim: files that their access rules look names up in."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from penstock.clients.drivers.command import run_bounded
from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.drivers.line_file import LineFile, checked
from penstock.model import Rung, Step, Thing

_TIMEOUT_S = 60.0


class AccessFiles:
    """One file for each rung that is looked up; a driver for whatever reads such files."""

    def __init__(self, files: Mapping[Rung, Path], line: str, postmap: str = "") -> None:
        """`line` is what a name's line looks like, with `{name}` in it; `postmap` is Postfix's program and the type of
        its maps, e.g. `postmap hash`, where files are compiled."""
        self.rungs = frozenset(files)
        self._files = {rung: LineFile(path) for rung, path in files.items()}
        self._line = line
        self._postmap = postmap.split()

    def knows(self, step: Step) -> bool:
        """Everything of its rungs."""
        return True

    def describe(self, step: Step) -> str:
        """The file."""
        verb = "write" if step.verb == "shut" else "take"
        return f"{verb} {step.thing.name} in {self._files[step.thing.rung].path}"

    async def carry_out(self, step: Step) -> str:
        """Change the file; where maps are compiled, compile it anew, whether or not it changed: a crash may have come
        between the two."""
        name, file = key_of(step.thing), self._files[step.thing.rung]
        changed = file.put(name, self._line.replace("{name}", name)) if step.verb == "shut" else file.take(name)
        if self._postmap:
            program, kind = self._postmap
            said, status = await run_bounded([program, f"{kind}:{file.path}"], _TIMEOUT_S)
            if status:
                raise Unavailable(f"{program} ended with {status}: {said}")
        return f"{step.verb} in {file.path}" + ("" if changed else " (as before)")

    async def close(self) -> None:
        """Nothing is open."""


def key_of(thing: Thing) -> str:
    """What a thing is called in a file. Raises Refused for what cannot be a key there."""
    if thing.rung is not Rung.SOURCE:
        return checked(thing.name, more=":" if thing.rung is not Rung.SCRIPT else "")
    try:
        return str(ipaddress.ip_address(thing.name))
    except ValueError:
        raise Refused(f"{thing.name!r:.80} is no address") from None
