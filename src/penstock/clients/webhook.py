"""Calls of other systems: a POST of JSON, signed, so that the receiver knows who sent it and that it is fresh."""

from __future__ import annotations

import hashlib
import hmac

import httpx2
import msgspec

TIMEOUT_S = 10.0


def signature(secret: str, at: float, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 over the time, a dot and the body. Receivers refuse old times."""
    moment = f"{at:.0f}"
    digest = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


class Webhook:
    """One receiver."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def call(self, key: str, payload: object, at: float) -> str:
        """Send one payload; empty where it was taken (2xx), else what went wrong.

        `key` is sent as `Idempotency-Key`: it stays the same when a call is repeated.
        """
        body = msgspec.json.encode(payload)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key, "User-Agent": "penstock"}
        if self._secret:
            headers["X-Penstock-Signature"] = signature(self._secret, at, body)
        try:
            answer = await self._client.post(self._url, content=body, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as trouble:
            return f"{type(trouble).__name__}: {trouble}"
        return "" if answer.is_success else f"HTTP {answer.status_code}"
