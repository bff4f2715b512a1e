"""Single sign-on with a provider that lies."""

import json
import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from joserfc import jwt
from joserfc.jwk import RSAKey
from sign_on_house import failures, made, outward, said, told

from neighbours.glewlwyd import CLIENT
from neighbours.panel_http import PanelHttp
from penstock.console.sign_on import BACK, Why


class Liar:
    """A provider that answers with what a test puts in."""

    def __init__(self):
        self.key = RSAKey.generate_key(2048, {"kid": "k", "use": "sig"})
        self.claims, self.header, self.tokens, self.user = {}, {"alg": "RS256", "kid": "k"}, {}, None
        self.description = {}
        self.nonce = ""

    def answer(self, request):
        """One answer of its HTTP."""
        token = "secret-access-token"
        if request.path == "/token":
            now = int(time.time())
            claims = {"iss": self.url, "aud": CLIENT, "sub": "s", "exp": now + 60, "iat": now, "nonce": self.nonce}
            whole = {**claims, "email": "liar@example.net", "email_verified": True, "groups": ["chiefs"], **self.claims}
            whole = {name: value for name, value in whole.items() if value is not None}
            return 200, json.dumps(
                {"id_token": jwt.encode(self.header, whole, self.key), "access_token": token, **self.tokens}
            )
        if request.path == "/user":
            assert request.headers["authorization"] == f"Bearer {token}"
            return 200, json.dumps(self.user)
        if request.path == "/jwks":
            return 200, json.dumps({"keys": [{"kty": "oct", "k": "AA"}, {"kty": "RSA", "n": 1}, self.key.as_dict()]})
        places = {"authorization_endpoint": "/auth?x=1", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        whole = {name: self.url + path for name, path in {**places, "userinfo_endpoint": "/user"}.items()}
        return 200, json.dumps({"issuer": self.url, **whole, **self.description})

    async def met(self, client):
        """What a browser gets that comes back from it."""
        query = parse_qs(urlsplit(await outward(client)).query)
        self.nonce = query["nonce"][0]
        return await client.get(BACK, params={"state": query["state"][0], "code": "secret-code"})


@pytest.fixture
async def liar():
    """On a free port."""
    one = Liar()
    async with PanelHttp(one.answer) as served:
        one.url = served.url
        yield one


@pytest.fixture
async def house(tmp_path, liar):
    """It relies on the liar."""
    one = await made(tmp_path, liar.url)
    yield one
    await one.service.store.close()


LIES = (
    {"nonce": "x"}, {"nonce": None}, {"aud": "other"}, {"aud": [CLIENT, "other"]}, {"azp": "other"}, {"exp": 1},
    {"exp": None}, {"iat": 9_999_999_999}, {"iss": "http://127.0.0.1:1"}, {"sub": None}, {"sub": 7},
    {"at_hash": "x"},
)  # fmt: skip


async def test_a_token_that_does_not_hold_opens_nothing(house, visit, liar):
    """Wrong nonce, audience, time, issuer, subject, access token: on record, and without secrets in the log."""
    client = await visit()
    for liar.claims in LIES:
        with structlog.testing.capture_logs() as log:
            answer = await liar.met(client)
        assert (answer.status_code, said(answer)) == (403, told(Why.NOT_PROVEN)), liar.claims
        assert (await client.get("/")).status_code == 303
        assert [one["event"] for one in log] == ["sign-on-failed"]
        assert not re.search(r"secret-|eyJ|liar@", str(log))
    assert {one.reason for one in await failures(house)} == {"single sign-on: not_proven"}


async def test_a_liars_honest_token_opens(house, visit, liar):
    """So that the lies above fail for what they are; userinfo fills in what the ID token lacks."""
    liar.header = {"alg": "RS256"}
    assert (await liar.met(await visit())).status_code == 303
    liar.claims, liar.user = {"email": None, "email_verified": None, "groups": None}, {"sub": "other"}
    answer = await liar.met(await visit())
    assert (answer.status_code, said(answer)) == (403, told(Why.NOT_PROVEN))
    liar.user = {"sub": "s", "email": "liar@example.net", "email_verified": "true", "groups": {"chiefs": {}}}
    assert (await liar.met(await visit())).status_code == 303


async def test_a_description_that_leads_elsewhere_is_refused(house, visit, liar):
    """Another's, one that cannot be read, an endless one."""
    for lie in ({"issuer": "https://other.example"}, {"token_endpoint": None}, {"more": "x" * 300_000}):
        liar.description = lie
        answer = await (await visit()).get("/login/sign-on")
        assert (answer.status_code, said(answer)) == (403, told(Why.NOT_PROVEN)), lie
