"""What every answer carries and every request must keep to: headers for the browser, where forms come from, sizes."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MOST_BYTES = 256 * 1024
_HEADERS = {
    # Nothing inline, nothing from anywhere else; charts and htmx need no more than this.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-robots-tag": "noindex",
}
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


class Guard:
    """Around the whole site."""

    def __init__(self, app: ASGIApp, *, base_url: str) -> None:
        """`base_url` is where forms may come from; empty takes what Host says."""
        self._app = app
        self._base_url = base_url
        self._headers = dict(_HEADERS)
        if base_url.startswith("https:"):
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what may not be, and pass on the rest."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        left = _MOST_BYTES

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    ours[name] = value
                if "cache-control" not in ours:
                    ours["cache-control"] = "no-store"
            await send(message)

        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _MOST_BYTES:
            return await PlainTextResponse("too large", 413)(scope, receive, dressed)
        if scope["method"] not in _SAFE and not self._is_from_here(headers):
            return await PlainTextResponse("this form comes from another site", 403)(scope, receive, dressed)
        return await self._app(scope, bounded, dressed)

    def _is_from_here(self, headers: Headers) -> bool:
        """Whether a form was sent from our own pages; programs say neither of the two."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        return origin == self._base_url if self._base_url else urlsplit(origin).netloc == headers.get("host", "")
