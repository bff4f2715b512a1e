"""The HTTP listener's paths for logins: Dovecot's auth policy; `POST /login` and `/password-changed` for panels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.attempts import Permission
from penstock.listeners.telling import tell
from penstock.pipeline import Gate
from penstock.protocols import auth_policy, login_json
from penstock.protocols.auth_policy import BadPolicyRequest
from penstock.protocols.http1 import Request, RequestError
from penstock.protocols.login_json import BadLogin

_REFUSE, _GO_ON = -1, 0
_PASSWORD_S = 20.0


class LoginPaths:
    """Answers in JSON. A login that cannot be judged goes on, and one that cannot be counted is lost, and counted."""

    def __init__(self, gate: Gate, *, count: Callable[[str], None], now: Callable[[], float]) -> None:
        self._gate = gate
        self._count = count
        self._now = now

    async def policy(self, request: Request) -> bytes:
        """Answer Dovecot's `?command=allow` or `?command=report`. Raises RequestError."""
        command, body = request.header("command"), request.body
        try:
            match command:
                case "allow":
                    permission = await self._gate.may_log_in(auth_policy.read_question(body, self._now()))
                    return auth_policy.answer(_REFUSE if permission.is_refused else _GO_ON, permission.text)
                case "report":
                    report = auth_policy.read_report(body, self._now())
                    if report.is_refused_by_policy:
                        self._count("logins-refused-reported")  # our own refusal is no evidence
                    else:
                        await tell(self._gate, report.attempt, self._count)
                    return auth_policy.REPORTED
        except BadPolicyRequest as trouble:
            raise RequestError(400, str(trouble)) from trouble
        raise RequestError(404, f'no command "{command[:40]}"; there are allow and report')

    async def login(self, request: Request) -> bytes:
        """Answer a panel. Raises RequestError."""
        if request.method != "POST":
            raise RequestError(405, "send a login with POST")
        try:
            attempt, is_question = login_json.read_login(request.body, self._now())
        except BadLogin as trouble:
            raise RequestError(400, str(trouble)) from trouble
        permission = await self._gate.may_log_in(attempt) if attempt.is_good else Permission()
        if not is_question and not permission.is_refused:
            await tell(self._gate, attempt, self._count)
        return login_json.answer(permission)

    async def password_changed(self, request: Request, peer: str) -> bytes:
        """Take in that an account's password was changed. Raises RequestError: it is to be told again then."""
        if request.method != "POST":
            raise RequestError(405, "send it with POST")
        try:
            account = login_json.read_password_change(request.body)
        except BadLogin as trouble:
            raise RequestError(400, str(trouble)) from trouble
        try:
            async with asyncio.timeout(_PASSWORD_S):
                await self._gate.password_changed(account, who=f"panel at {peer}", reason="", now=self._now())
        except Exception as trouble:
            self._count("failures")
            raise RequestError(503, "not taken in; tell it again") from trouble
        return login_json.taken(account)
