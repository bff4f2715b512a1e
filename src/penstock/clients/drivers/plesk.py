"""Plesk: a mailbox may send no message at all, by its limit of outgoing messages (REST, `/api/v2/cli/mail/call`).

Plesk has no switch for sending alone: a limit of 0 prohibits it, and the mailbox still takes in and shows mail.
Outgoing mail control must be on (Tools & Settings, Outgoing Mail Control).

docs.plesk.com: "About REST API" (`X-API-Key`; `POST /api/v2/cli/{utility}/call` with `params`, answered with `code`,
`stdout`, `stderr`), the `mail` utility, and "Custom Limits" (0 prohibits sending). That `default` gives a mailbox its
subscription's limit back is what the panel offers; no page that we found shows it on the command line.
"""

from __future__ import annotations

from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.drivers.panel import PanelApi
from penstock.model import Rung, Step

_OPTION = "-outgoing-messages-mbox-limit"


class Plesk:
    """One Plesk server."""

    rungs = frozenset({Rung.MAILBOX})

    def __init__(self, api: PanelApi, limit: str) -> None:
        """`limit` is what a mailbox has when it is open: a number, or `default` for its subscription's."""
        self._api = api
        self._limit = limit

    @classmethod
    def at(cls, url: str, key: str, limit: str, *, check_certificate: bool) -> Plesk:
        """The server at a URL such as https://host:8443, by a secret key (`plesk bin secret_key -c`)."""
        return cls(PanelApi(url, {"X-API-Key": key}, check_certificate=check_certificate), limit)

    def knows(self, step: Step) -> bool:
        """Mailboxes are addresses."""
        return "@" in step.thing.name

    def _parameters(self, step: Step) -> list[str]:
        limit = "0" if step.verb == "shut" else self._limit
        return ["--update", step.thing.name, _OPTION, limit]

    def describe(self, step: Step) -> str:
        """The command that Plesk is asked to run."""
        return f"plesk bin mail {' '.join(self._parameters(step))}"

    async def carry_out(self, step: Step) -> str:
        """Have the command run."""
        if step.thing.name.startswith("-"):
            raise Refused("a name that begins with a dash would pass for an option")
        found = await self._api.ask_json("POST", "/api/v2/cli/mail/call", json={"params": self._parameters(step)})
        code = found.get("code")
        if not isinstance(code, int):
            raise Unavailable("Plesk's answer has no code")
        if code:
            said = str(found.get("stderr") or found.get("stdout") or f"code {code}").strip()
            raise Refused(said[:300])
        return f"limit of {step.thing.name}: {self._parameters(step)[-1]}"

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()
