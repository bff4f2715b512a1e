"""Listeners tell of logins: what was seen at the relay's AUTH, or told over HTTP. No client waits long for that."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from penstock.attempts import Attempt
from penstock.clients.login import Login
from penstock.pipeline import Gate

_COUNTING_S = 1.5
"""Dovecot, which tells of a login, waits two seconds for the answer."""
_HASH_BYTES = 8


async def tell(gate: Gate, attempt: Attempt, count: Callable[[str], None]) -> None:
    """Have a login counted. One that cannot be counted is lost, and that is counted."""
    try:
        async with asyncio.timeout(_COUNTING_S):
            await gate.logged_in(attempt)
    except Exception:
        count("logins-lost")


class WatchedLogin:
    """Checks passwords, asks whether a right one may log in from there, and tells of every try."""

    def __init__(
        self, login: Login, gate: Gate, key: bytes, *, count: Callable[[str], None], now: Callable[[], float]
    ) -> None:
        """`key` is the secret of the few bits that tell one wrong password from another."""
        self._login, self._gate, self._key = login, gate, key
        self._count, self._now = count, now

    async def check(self, user: str, password: str, client_ip: str) -> str:
        """The login's own name where the password is right and the login may go on, else the empty string. Raises
        LoginUnavailable."""
        name = await self._login.check(user, password, client_ip)
        is_good = bool(name)
        attempt = Attempt(
            self._now(), name or user, client_ip, "smtp", "", is_good, not is_good, self._tag(user, password)
        )
        if is_good and (await self._gate.may_log_in(attempt)).is_refused:
            return ""
        await tell(self._gate, attempt, self._count)
        return name

    def _tag(self, user: str, password: str) -> str:
        """Twelve bits, as Dovecot makes them: too few to find a password by."""
        text = f"{user}\0{password}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, key=self._key[:64], digest_size=_HASH_BYTES).digest()
        return f"{int.from_bytes(digest, 'big') & 0xFFF:03x}"
