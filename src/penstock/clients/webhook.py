"""Calls of other systems: a POST of JSON, signed, so that the receiver knows who sent it and that it is fresh."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

import httpx2
import msgspec
from msgspec import Struct

TIMEOUT_S = 10.0


def signature(secret: str, at: float, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 over the time, a dot and the body. Receivers refuse old times."""
    moment = f"{at:.0f}"
    digest = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


class Answer(Struct, frozen=True):
    """What a receiver answered."""

    status: int
    """Of HTTP; 0 where there was no answer."""
    trouble: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether it was taken (2xx)."""
        return 200 <= self.status < 300


def is_fresh(secret: str, header: str, body: bytes, now: float, *, within_s: float = 300.0) -> bool:
    """Whether a signature is ours, of this body, and not old: what a receiver checks, in the time of a right one.

    A copy that is sent again within that time has the `Idempotency-Key` of the first.
    """
    fields = dict(one.partition("=")[::2] for one in header.split(","))
    moment = fields.get("t", "")
    if not (moment.isascii() and moment.isdigit() and len(moment) < 16) or abs(now - int(moment)) > within_s:
        return False
    return hmac.compare_digest(signature(secret, float(moment), body).encode(), header.encode())


class Webhook:
    """One receiver."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self._secret = secret
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def post(self, key: str, payload: object, at: float) -> Answer:
        """Send one payload, and say what came of it.

        `key` is sent as `Idempotency-Key`: it stays the same when a call is repeated.
        """
        body = msgspec.json.encode(payload)
        headers = {"Content-Type": "application/json", "Idempotency-Key": _ascii(key), "User-Agent": "penstock"}
        if self._secret:
            headers["X-Penstock-Signature"] = signature(self._secret, at, body)
        try:
            answer = await self._client.post(self.url, content=body, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as trouble:
            return Answer(0, f"{type(trouble).__name__}: {trouble}")
        return Answer(answer.status_code, "" if answer.is_success else f"HTTP {answer.status_code}")

    async def call(self, key: str, payload: object, at: float) -> str:
        """Send one payload; empty where it was taken, else what went wrong."""
        return (await self.post(key, payload, at)).trouble


def _ascii(key: str) -> str:
    """Accounts are called as strangers please; a header is printable ASCII."""
    return quote(key, safe="/:@+=,. !$&'()*;-_~")
