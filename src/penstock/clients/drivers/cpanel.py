"""cPanel & WHM: outgoing mail of one mailbox (UAPI Email) or of a whole account (WHM API 1), suspended or held.

https://api.docs.cpanel.net (11.138): WHM API 1 `suspend_outgoing_email`, `hold_outgoing_email`, `getdomainowner`,
`uapi_cpanel` (whose `cpanel.user` is lower case); UAPI `Email::suspend_outgoing`, `Email::hold_outgoing` and their
opposites, which answer with `status` and `errors`.
"""

from __future__ import annotations

from typing import Any

from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.drivers.panel import PanelApi
from penstock.model import Rung, Step

_VERBS = {
    ("suspend", "shut"): "suspend_outgoing",
    ("suspend", "open"): "unsuspend_outgoing",
    ("hold", "shut"): "hold_outgoing",
    ("hold", "open"): "release_outgoing",
}


class Cpanel:
    """One WHM server."""

    rungs = frozenset({Rung.MAILBOX, Rung.ACCOUNT})

    def __init__(self, api: PanelApi, how: str) -> None:
        """`how` is `suspend` (mail is refused) or `hold` (it stays in Exim's queue)."""
        self._api = api
        self._how = how

    @classmethod
    def at(cls, url: str, user: str, token: str, how: str, *, check_certificate: bool) -> Cpanel:
        """The server at a URL such as https://host:2087, by an API token of WHM."""
        headers = {"Authorization": f"whm {user}:{token}"}
        return cls(PanelApi(url, headers, check_certificate=check_certificate), how)

    def knows(self, step: Step) -> bool:
        """A mailbox needs a domain, whose owner is asked for."""
        return step.thing.rung is not Rung.MAILBOX or "@" in step.thing.name

    def describe(self, step: Step) -> str:
        """The function that is called."""
        function = _VERBS[self._how, step.verb]
        if step.thing.rung is Rung.MAILBOX:
            return f"UAPI Email::{function} email={step.thing.name}"
        return f"WHM {function}_email user={step.thing.name}"

    async def carry_out(self, step: Step) -> str:
        """Call it; cPanel says the same success where it was so before."""
        function, name = _VERBS[self._how, step.verb], step.thing.name
        if step.thing.rung is Rung.ACCOUNT:
            user = await self._owner(name) if "." in name else name
            await self._whm(f"{function}_email", user=user.lower())
            return f"{function}_email of {user}"
        owner = await self._owner(name.rpartition("@")[2])
        call = {"cpanel.user": owner, "cpanel.module": "Email", "cpanel.function": function, "email": name}
        found = (await self._whm("uapi_cpanel", **call)).get("data", {})
        result = found.get("uapi", {}) if isinstance(found, dict) else {}
        if not isinstance(result, dict) or result.get("status") != 1:
            errors = result.get("errors") if isinstance(result, dict) else None
            raise Refused(f"Email::{function}: {'; '.join(map(str, errors or ['no reason given']))}"[:300])
        return f"Email::{function} of {name} ({owner})"

    async def _owner(self, domain: str) -> str:
        data = (await self._whm("getdomainowner", domain=domain)).get("data")
        user = data.get("user") if isinstance(data, dict) else None
        if not isinstance(user, str) or not user:
            raise Refused(f"no account of this server has the domain {domain}")
        return user

    async def _whm(self, function: str, **parameters: str) -> dict[str, Any]:
        found = await self._api.ask_json("GET", f"/json-api/{function}", params={"api.version": "1", **parameters})
        metadata = found.get("metadata")
        if not isinstance(metadata, dict):
            raise Unavailable(f"WHM's answer to {function} has no metadata")
        if metadata.get("result") != 1:
            raise Refused(f"{function}: {metadata.get('reason', 'no reason given')}"[:300])
        return found

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()
