"""What panels' HTTP APIs have in common: one request, bounded, and its trouble told apart."""

from __future__ import annotations

from typing import Any

import httpx2

from penstock.clients.drivers.driver import Refused, Unavailable

TIMEOUT_S = 60.0


class PanelApi:
    """One panel's API, over HTTPS."""

    def __init__(self, url: str, headers: dict[str, str], *, check_certificate: bool = True) -> None:
        self._url = url.rstrip("/")
        self._client = httpx2.AsyncClient(
            timeout=TIMEOUT_S, headers=headers, verify=check_certificate, follow_redirects=False
        )

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """The answer to one request.

        Raises Unavailable where there is none, where the panel is in trouble or busy, or does not let us in: a person
        mends the token, and what waited is done. Raises Refused for all other errors.
        """
        try:
            answer = await self._client.request(method, self._url + path, **more)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as trouble:
            raise Unavailable(f"{type(trouble).__name__}: {trouble}") from None
        if answer.status_code in (401, 403):
            raise Unavailable(f"the panel does not accept our token: HTTP {answer.status_code}")
        if answer.status_code in (408, 429) or answer.status_code >= 500 or answer.is_redirect:
            raise Unavailable(f"HTTP {answer.status_code}")
        if answer.status_code >= 400:
            raise Refused(f"HTTP {answer.status_code}: {answer.text[:200]}")
        return answer

    async def ask_json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """The answer as a JSON object. Raises Unavailable where it is none, such as the page of a proxy."""
        answer = await self.ask(method, path, **more)
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Unavailable(f"the panel answers no JSON: {answer.text[:80]!r}")
        return found

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()
