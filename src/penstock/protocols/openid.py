"""OpenID Connect Core 1.0 for one who relies on a provider: what is asked of it, and what its answers prove.

The authorization code flow (section 3.1) with PKCE (RFC 7636).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey, import_key
from msgspec import Struct

ALGORITHMS = ("RS256", "ES256")
"""Of signatures that count; `none` and those with a shared secret never do."""
_LEEWAY_S = 60
"""Clocks may differ by this."""
Claims = Mapping[str, Any]
_T = TypeVar("_T")


class NotProven(ValueError):
    """An answer of the provider does not prove what it says; the text never has any of it but names."""


class OtherKey(NotProven):
    """No key that is known signed this: the provider may have new ones."""


class Provider(Struct, frozen=True):
    """What a provider says of itself (OpenID Connect Discovery 1.0 section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Tokens(Struct, frozen=True):
    """What a code was exchanged for (section 3.1.3.3)."""

    id_token: str
    access_token: str = ""


class Client(Struct, frozen=True):
    """Who we are to the provider."""

    id: str
    secret: str
    """Empty for a public client, which PKCE alone protects."""
    redirect_uri: str
    scopes: tuple[str, ...]


class Attempt(Struct, frozen=True):
    """One login under way. What binds the provider's answers to it comes from one secret that the browser keeps."""

    secret: str

    @property
    def state(self) -> str:
        """Binds the way back to the browser that went out (RFC 6749 section 10.12)."""
        return self._derived(b"state")

    @property
    def nonce(self) -> str:
        """Binds the ID token to it."""
        return self._derived(b"nonce")

    @property
    def verifier(self) -> str:
        """Binds the code to it (RFC 7636 section 4.1)."""
        return self._derived(b"verifier")

    @property
    def challenge(self) -> str:
        """What is shown of the verifier beforehand."""
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, purpose: bytes) -> str:
        return _base64(hashlib.blake2b(self.secret.encode(), digest_size=32, person=purpose).digest())


def discovery_url(issuer: str) -> str:
    """Where a provider describes itself."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def read_provider(body: bytes, issuer: str) -> Provider:
    """A provider's own description. Raises NotProven where it is another's, or leads to unsafe places."""
    provider = _read(body, Provider, "the provider's description")
    if provider.issuer != issuer:
        raise NotProven(f'the provider calls itself "{provider.issuer[:200]}", and "{issuer}" is wanted')
    places = (provider.authorization_endpoint, provider.token_endpoint, provider.jwks_uri, provider.userinfo_endpoint)
    for place in filter(None, places):
        if urlsplit(place).scheme != "https" and not issuer.startswith("http:"):
            raise NotProven(f'the provider leads to "{place[:200]}", which is not https')
    return provider


def read_keys(body: bytes) -> KeySet:
    """The provider's keys for signatures (RFC 7517 section 5); those that cannot be used are left out."""
    found = _read(body, dict[str, Any], "the provider's keys").get("keys")
    if not isinstance(found, list):
        raise NotProven("the provider's keys cannot be read")
    keys = list[RSAKey | ECKey]()
    for one in found:
        if isinstance(one, dict) and one.get("kty") in ("RSA", "EC") and one.get("use", "sig") == "sig":
            try:
                keys.append(import_key(one))  # type: ignore[arg-type]
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    return KeySet(list(keys))


def authorization_url(provider: Provider, client: Client, attempt: Attempt) -> str:
    """Where the browser goes to log in (section 3.1.2.1)."""
    fields = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": client.redirect_uri,
        "scope": " ".join(client.scopes),
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": attempt.challenge,
        "code_challenge_method": "S256",
    }
    joint = "&" if urlsplit(provider.authorization_endpoint).query else "?"
    return f"{provider.authorization_endpoint}{joint}{urlencode(fields)}"


def exchange_of(provider: Provider, client: Client, attempt: Attempt, code: str) -> tuple[dict[str, str], str]:
    """(form that exchanges a code, value of Authorization, empty for none); section 3.1.3.1, RFC 6749 section 2.3.1."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": attempt.verifier,
        "client_id": client.id,
    }
    if not client.secret:
        return form, ""
    if "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
        pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
        return form, "Basic " + base64.b64encode(pair.encode()).decode()
    return form | {"client_secret": client.secret}, ""


def read_tokens(body: bytes) -> Tokens:
    """What a code was exchanged for. Raises NotProven."""
    return _read(body, Tokens, "the provider's tokens")


def read_error(body: bytes) -> str:
    """The code of a refusal (RFC 6749 section 5.2), such as `invalid_client`; empty where there is none."""
    try:
        code = msgspec.json.decode(body, type=dict[str, Any]).get("error")
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ""
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,60}", code) else ""


def read_user(body: bytes, subject: str) -> Claims:
    """Claims of the userinfo endpoint (section 5.3.2). Raises NotProven where they are about somebody else."""
    claims = _read(body, dict[str, Any], "the provider's userinfo")
    if claims.get("sub") != subject:
        raise NotProven("the provider's userinfo is about somebody else")
    return claims


def check_id_token(
    tokens: Tokens, keys: KeySet, provider: Provider, client: Client, attempt: Attempt, *, now: float
) -> Claims:
    """The claims of an ID token that proves them (section 3.1.3.7). Raises OtherKey, NotProven."""
    try:
        token = jwt.decode(tokens.id_token, keys, algorithms=ALGORITHMS)
        wanted = jwt.JWTClaimsRegistry(
            now=int(now),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": provider.issuer},
            aud={"essential": True, "value": client.id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": attempt.nonce},
        )
        wanted.validate(token.claims)
    except (BadSignatureError, InvalidKeyIdError) as why:
        raise OtherKey(f"the ID token is not signed by a known key ({type(why).__name__})") from None
    except (JoseError, ValueError, TypeError, RecursionError) as why:
        raise NotProven(f"the ID token does not hold ({_kind(why)})") from None
    claims = token.claims
    if not isinstance(claims["sub"], str):
        raise NotProven("the ID token does not hold (sub is no text)")
    alone = isinstance(claims["aud"], str) or len(claims["aud"]) == 1
    if claims.get("azp", client.id if alone else None) != client.id:
        raise NotProven("the ID token was made for somebody else too (azp)")
    if "at_hash" in claims and claims["at_hash"] != _half(tokens.access_token):
        raise NotProven("the access token is not the one that the ID token names (at_hash)")
    return claims


def _kind(why: Exception) -> str:
    """The trouble's kind and the claim's name, without its value."""
    claim = getattr(why, "claim", "")
    return f"{type(why).__name__}{f' of {claim}' if claim else ''}"


def _half(access_token: str) -> str:
    """`at_hash` (section 3.1.3.6); both algorithms that count hash by SHA-256."""
    return _base64(hashlib.sha256(access_token.encode()).digest()[:16])


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _read(body: bytes, type: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise NotProven(f"{what} cannot be read") from None


def texts_of(claims: Claims, name: str) -> Sequence[str]:
    """A claim as texts: one text, a list of them, or an object's names, as providers please."""
    value = claims.get(name)
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, (list, dict)) else ()
