"""DirectAdmin: its Exim refuses logins and Unix users that two files name; its API suspends whole accounts.

The files are BlockCracking's: `blacklist_smtp_usernames` (looked up by `$authenticated_id`, an address for a mailbox)
and `blacklist_script_usernames` (Unix users) under /etc/virtual; help.directadmin.com item 655 and its own exim.conf
have them. The API is the legacy one (directadmin.com/api.html), which answers as a form: `CMD_API_SHOW_USER_CONFIG` has
`suspended=yes`; `CMD_API_SELECT_USERS` wants `location`, `select0`, and the name of the button that is pressed. The
buttons' names (`dosuspend`, `dounsuspend`) are those that public clients send, not of a page of the maker's; so the
state is asked for before and after, and what did not change is told.
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
        button, label = ("dosuspend", "Suspend") if is_shut else ("dounsuspend", "Unsuspend")
        if await self._is_suspended(api, name) == is_shut:
            return f"{label} {name} (as before)"
        form = {"location": "CMD_SELECT_USERS", button: label, "select0": name}
        found = parse_qs((await api.ask("POST", "/CMD_API_SELECT_USERS", data=form)).text)
        if found.get("error", ["0"]) != ["0"]:
            raise _refused(found)
        if await self._is_suspended(api, name) != is_shut:
            raise Unavailable(f"DirectAdmin took {button} of {name}, and nothing changed")
        return f"{label} {name}"

    async def _is_suspended(self, api: PanelApi, name: str) -> bool:
        answer = await api.ask("GET", "/CMD_API_SHOW_USER_CONFIG", params={"user": name})
        found = parse_qs(answer.text)
        if found.get("error", ["0"]) != ["0"]:
            raise _refused(found)
        if "suspended" not in found:
            raise Unavailable(f"DirectAdmin answers something else: {answer.text[:80]!r}")
        return found["suspended"][0].lower() in ("yes", "on", "1")

    async def close(self) -> None:
        """Let go of the connections."""
        if self._api is not None:
            await self._api.close()


def _refused(found: dict[str, list[str]]) -> Refused:
    return Refused(" ".join([*found.get("text", []), *found.get("details", [])])[:300] or "no reason given")
