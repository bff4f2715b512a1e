"""Dovecot: a passdb that denies (`deny = yes`), one file a service, and sessions that are ended (`doveadm kick`).

Only the services whose files are named are denied, so that an owner still reads his mail while nobody can send.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path

import httpx2

from penstock.clients.drivers.command import run_bounded
from penstock.clients.drivers.driver import Unavailable
from penstock.clients.drivers.line_file import LineFile, checked
from penstock.model import Rung, Step

_TIMEOUT_S = 20.0
_SEEN_S = 1.1
"""Dovecot looks at a file at most once a second."""
_NOBODY = (67, 68)
"""EX_NOUSER, EX_NOHOST: nobody was logged in."""


class Doveadm:
    """Runs doveadm's commands, by the program or over its HTTP API."""

    def __init__(self, program: Sequence[str], url: str = "", key: str = "") -> None:
        self._program, self._url, self._key = tuple(program), url, key
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) if url else None

    @property
    def is_there(self) -> bool:
        """Whether it is wanted at all."""
        return bool(self._program or self._client)

    async def end_sessions(self, name: str) -> str:
        """End every session of a login. Raises Unavailable."""
        if self._client is not None:
            status = await self._post("kick", {"mask": [name]})
        elif self._program:
            said, status = await run_bounded([*self._program, "kick", name], _TIMEOUT_S)
            if status and status not in _NOBODY:
                raise Unavailable(f"doveadm kick ended with {status}: {said}")
        else:
            return "sessions not asked about"
        return "nobody was logged in" if status else "sessions ended"

    async def forget(self, name: str) -> None:
        """Forget whether the login's password was right, and whether it was denied. Raises Unavailable."""
        if self._client is not None:
            await self._post("authCacheFlush", {"user": [name]})
        elif self._program:
            await run_bounded([*self._program, "auth", "cache", "flush", name], _TIMEOUT_S)

    async def _post(self, command: str, parameters: object) -> int:
        assert self._client is not None
        key = base64.b64encode(self._key.encode()).decode()
        headers = {"Authorization": f"X-Dovecot-API {key}"}
        try:
            answer = await self._client.post(self._url, json=[[command, parameters, "penstock"]], headers=headers)
            if not answer.is_success:
                raise Unavailable(f"doveadm's API answers HTTP {answer.status_code}")
            kind, content, _ = answer.json()[0]
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, TypeError, IndexError, KeyError) as trouble:
            raise Unavailable(f"doveadm's API: {type(trouble).__name__}: {trouble}") from None
        if kind != "error":
            return 0
        status = content.get("exitCode", 1) if isinstance(content, dict) else 1
        if command == "kick" and status not in _NOBODY:
            raise Unavailable(f"doveadm's API: {command}: {content}")
        return int(status)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.aclose()


class Dovecot:
    """Denies logins, and ends sessions."""

    rungs = frozenset({Rung.MAILBOX})

    def __init__(self, files: Sequence[Path], doveadm: Doveadm) -> None:
        self._files = [LineFile(one) for one in files]
        self._doveadm = doveadm

    def knows(self, step: Step) -> bool:
        """Every login."""
        return True

    def describe(self, step: Step) -> str:
        """The files, and the sessions."""
        names = ", ".join(str(one.path) for one in self._files)
        kick = "; doveadm kick" if self._doveadm.is_there else ""
        return f"{'write' if step.verb == 'shut' else 'take'} {step.thing.name} in {names}{kick}"

    async def carry_out(self, step: Step) -> str:
        """Write the files, then end the sessions, so that nobody comes back in between.

        Sessions end before it is opened too: what a thief still holds open must not outlive the change of password.
        """
        name = checked(step.thing.name, more=":*?")
        if step.verb == "shut":
            changed = await self._seen([one.put(name, name) for one in self._files])
            ended = await self._doveadm.end_sessions(name)
        else:
            ended = await self._doveadm.end_sessions(name)
            changed = await self._seen([one.take(name) for one in self._files])
        await self._doveadm.forget(name)
        what = "denied" if step.verb == "shut" else "no longer denied"
        return f"{what}{'' if changed else ' (as before)'}; {ended}"

    async def _seen(self, changed: list[bool]) -> bool:
        """Whether a file changed; then Dovecot has seen it when this returns."""
        if any(changed):
            await asyncio.sleep(_SEEN_S)
        return any(changed)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._doveadm.close()
