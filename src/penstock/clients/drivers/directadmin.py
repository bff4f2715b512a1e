"""DirectAdmin: its Exim refuses logins and Unix users that two files name; its API suspends whole accounts.

The files are BlockCracking's: `blacklist_smtp_usernames` and `blacklist_script_usernames` under /etc/virtual. The API
is the legacy one, `CMD_API_SELECT_USERS`, which answers `error=0&text=…` as a form.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.drivers.line_file import LineFile, checked
from penstock.clients.drivers.panel import PanelApi
from penstock.model import Rung, Step


class DirectAdmin:
    """One DirectAdmin server: its files where Penstock runs on it, its API where it may suspend whole accounts."""

    def __init__(self, folder: Path | None, api: PanelApi | None) -> None:
        self._api = api
        files = {Rung.MAILBOX: "blacklist_smtp_usernames", Rung.ACCOUNT: "blacklist_script_usernames"}
        self._files = {rung: LineFile(folder / name) for rung, name in files.items()} if folder else {}
        self.rungs = frozenset({*self._files, *([Rung.ACCOUNT] if api else [])})

    def knows(self, step: Step) -> bool:
        """Everything of its rungs."""
        return True

    def describe(self, step: Step) -> str:
        """The file or the call."""
        verb = "write" if step.verb == "shut" else "take"
        if step.thing.rung is Rung.ACCOUNT and self._api is not None:
            return f"CMD_API_SELECT_USERS {'suspend' if step.verb == 'shut' else 'unsuspend'} {step.thing.name}"
        return f"{verb} {step.thing.name} in {self._files[step.thing.rung].path}"

    async def carry_out(self, step: Step) -> str:
        """Change the file, or call."""
        name = checked(step.thing.name, more=":")
        if step.thing.rung is Rung.ACCOUNT and self._api is not None:
            return await self._suspend(self._api, name, is_shut=step.verb == "shut")
        file = self._files[step.thing.rung]
        changed = file.put(name, name) if step.verb == "shut" else file.take(name)
        return f"{step.verb} in {file.path}" + ("" if changed else " (as before)")

    async def _suspend(self, api: PanelApi, name: str, *, is_shut: bool) -> str:
        verb = "dosuspend" if is_shut else "dounsuspend"
        form = {"location": "CMD_SELECT_USERS", verb: "yes", "select0": name}
        answer = await api.ask("POST", "/CMD_API_SELECT_USERS", data=form)
        found = parse_qs(answer.text)
        if "error" not in found:
            raise Unavailable(f"DirectAdmin answers something else: {answer.text[:80]!r}")
        if found["error"] != ["0"]:
            raise Refused(" ".join([*found.get("text", []), *found.get("details", [])])[:300] or "no reason given")
        return f"{verb} {name}"

    async def close(self) -> None:
        """Let go of the connections."""
        if self._api is not None:
            await self._api.close()
