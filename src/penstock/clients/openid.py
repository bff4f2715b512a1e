"""An OpenID Connect provider: where it sends people, and what it says of those who come back."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx2
from joserfc.jwk import KeySet

from penstock.protocols import openid
from penstock.protocols.openid import Attempt, Claims, Client, NotProven, OtherKey, Provider, Tokens

_KEPT_S = 3600.0
"""The description and the keys are asked for again after this; keys sooner where a token is signed by another."""
_TIMEOUT_S = 5.0
_MOST_BYTES = 256 * 1024
_JSON = {"Accept": "application/json", "User-Agent": "penstock"}


class Unreachable(Exception):
    """The provider does not answer, or not as one does."""


class OpenIdProvider:
    """One provider, asked over HTTPS with the system's authorities. All methods raise Unreachable and NotProven."""

    def __init__(self, issuer: str, client: Client, *, now: Callable[[], float]) -> None:
        self._issuer = issuer
        self._client = client
        self._now = now
        self._tls = ssl.create_default_context()
        self._provider: tuple[float, Provider] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def login_url(self, attempt: Attempt) -> str:
        """Where the browser goes to log in."""
        return openid.authorization_url(await self._description(), self._client, attempt)

    async def claims(self, attempt: Attempt, code: str, wanted: tuple[str, ...]) -> Claims:
        """Who came back with a code. Where the ID token does not have all of the `wanted` claims, userinfo is asked."""
        provider = await self._description()
        form, authorization = openid.exchange_of(provider, self._client, attempt, code)
        headers = _JSON | ({"Authorization": authorization} if authorization else {})
        tokens = openid.read_tokens(await self._ask("POST", provider.token_endpoint, headers, form))
        proven = await self._check(tokens, provider, attempt)
        if all(name in proven for name in wanted) or not (provider.userinfo_endpoint and tokens.access_token):
            return proven
        bearer = _JSON | {"Authorization": f"Bearer {tokens.access_token}"}
        body = await self._ask("GET", provider.userinfo_endpoint, bearer)
        return {**openid.read_user(body, proven["sub"]), **proven}

    async def _check(self, tokens: Tokens, provider: Provider, attempt: Attempt) -> Claims:
        """The ID token's claims, by keys that are known or else by new ones: providers change them."""
        now = self._now()
        if self._keys is not None and now - self._keys[0] < _KEPT_S:
            try:
                return openid.check_id_token(tokens, self._keys[1], provider, self._client, attempt, now=now)
            except OtherKey:
                pass
        keys = openid.read_keys(await self._ask("GET", provider.jwks_uri, _JSON))
        self._keys = (now, keys)
        return openid.check_id_token(tokens, keys, provider, self._client, attempt, now=now)

    async def _description(self) -> Provider:
        now = self._now()
        if self._provider is None or now - self._provider[0] >= _KEPT_S:
            body = await self._ask("GET", openid.discovery_url(self._issuer), _JSON)
            self._provider = (now, openid.read_provider(body, self._issuer))
        return self._provider[1]

    async def _ask(self, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None = None) -> bytes:
        """The body of an answer that says 200, within bounds."""
        body = b""
        try:
            async with (
                httpx2.AsyncClient(timeout=_TIMEOUT_S, verify=self._tls, follow_redirects=False) as client,
                client.stream(method, url, headers=headers, data=form) as answer,
            ):
                async for some in answer.aiter_bytes():
                    body += some
                    if len(body) > _MOST_BYTES:
                        raise NotProven(f"{url} answers without end")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as trouble:
            raise Unreachable(f"{url}: {type(trouble).__name__}") from None
        if answer.status_code >= 500:
            raise Unreachable(f"{url}: HTTP {answer.status_code}")
        if answer.status_code != 200:
            raise NotProven(f"{url}: HTTP {answer.status_code} {openid.read_error(body)}".rstrip())
        return body
