"""ISPConfig: a mailbox may not log in to send (`disablesmtp`), over the remote API in JSON; its owner still reads.

The API is that of ISPConfig's own sources (`interface/lib/classes/json_handler.inc.php`, `remoting.inc.php`,
`remote.d/mail.inc.php`, the form `mail_user.tform.php`): `POST /remote/json.php?FUNCTION`, answered with `code` (`ok`,
or `remote_fault` with a message), `message` and `response`. A session is opened and closed for each step.
`mail_user_get` takes fields to look for as its `primary_id`; `mail_user_update` changes the fields that it is given,
wants `email` among them, and leaves the password alone where none is given, since 3.1.
"""

from __future__ import annotations

from typing import Any

from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.drivers.panel import PanelApi
from penstock.model import Rung, Step

_ADMIN = 0
"""The client on whose behalf a mailbox is changed: nobody's, which is the administrator's."""


class IspConfig:
    """One ISPConfig server, or the master of several."""

    rungs = frozenset({Rung.MAILBOX})

    def __init__(self, api: PanelApi, user: str, password: str) -> None:
        self._api = api
        self._who = {"username": user, "password": password}

    @classmethod
    def at(cls, url: str, user: str, password: str, *, check_certificate: bool) -> IspConfig:
        """The server at a URL such as https://host:8080, by a remote user (System, Remote Users)."""
        return cls(PanelApi(url, {}, check_certificate=check_certificate), user, password)

    def knows(self, step: Step) -> bool:
        """Mailboxes are addresses."""
        return "@" in step.thing.name

    def describe(self, step: Step) -> str:
        """The field that changes."""
        return f"ISPConfig mail_user_update {step.thing.name} disablesmtp={_flag(step)}"

    async def carry_out(self, step: Step) -> str:
        """Set the field, where it is not so already."""
        name, flag = step.thing.name.lower(), _flag(step)
        session = await self._log_in()
        try:
            box = await self._mailbox(session, name)
            if box.get("disablesmtp") == flag:
                return f"disablesmtp={flag} of {name} (as before)"
            more = {"client_id": _ADMIN, "primary_id": box["mailuser_id"]}
            await self._call(
                "mail_user_update", session_id=session, **more, params={"email": name, "disablesmtp": flag}
            )
            if (await self._mailbox(session, name)).get("disablesmtp") != flag:
                raise Unavailable(f"ISPConfig took disablesmtp={flag} of {name}, and nothing changed")
        finally:
            await self._log_out(session)
        return f"disablesmtp={flag} of {name}"

    async def _log_in(self) -> str:
        try:
            session = await self._call("login", **self._who)
        except Refused as trouble:
            raise Unavailable(str(trouble)) from None  # a person mends the remote user, and what waited is done
        if not isinstance(session, str) or not session:
            raise Unavailable("ISPConfig's answer to login has no session")
        return session

    async def _log_out(self, session: str) -> None:
        try:
            await self._call("logout", session_id=session)
        except (Refused, Unavailable):
            return  # it ends by itself

    async def _mailbox(self, session: str, name: str) -> dict[str, Any]:
        found = await self._call("mail_user_get", session_id=session, primary_id={"email": name})
        box = found[0] if isinstance(found, list) and found else None
        if not isinstance(box, dict) or "mailuser_id" not in box or box.get("email") != name:
            raise Refused(f"ISPConfig has no mailbox {name}")
        return box

    async def _call(self, function: str, **parameters: object) -> Any:
        answer = await self._api.ask_json("POST", f"/remote/json.php?{function}", json=parameters)
        code = answer.get("code")
        if not isinstance(code, str):
            raise Unavailable(f"ISPConfig's answer to {function} has no code")
        if code != "ok":
            raise Refused(f"{function}: {answer.get('message') or code}"[:300])
        return answer.get("response")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()


def _flag(step: Step) -> str:
    return "y" if step.verb == "shut" else "n"
