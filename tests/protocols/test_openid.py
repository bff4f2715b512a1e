"""OpenID Connect: signatures that count, and garbage."""

import base64
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from penstock.protocols import openid
from penstock.protocols.openid import Attempt, Client, NotProven, OtherKey, Provider, Tokens

NOW = 1_800_000_000
ISSUER = "https://id.example.net"
PROVIDER = Provider(ISSUER, f"{ISSUER}/auth", f"{ISSUER}/token", f"{ISSUER}/jwks")
CLIENT = Client("penstock", "100% secret:", "https://console.example/back", ("openid", "email"))
ATTEMPT = Attempt("a" * 43)
RSA, EC = RSAKey.generate_key(2048, {"kid": "rsa"}), ECKey.generate_key("P-256", {"kid": "ec"})
KEYS = KeySet([RSA, EC])


def claims(**more):
    """What an honest provider says."""
    whole = {"iss": ISSUER, "aud": "penstock", "sub": "s", "exp": NOW + 60, "iat": NOW, "nonce": ATTEMPT.nonce}
    return {**whole, **more}


def checked(token, access="", keys=KEYS):
    """The claims that are proven."""
    return openid.check_id_token(Tokens(token, access), keys, PROVIDER, CLIENT, ATTEMPT, now=NOW)


def part(value):
    """One part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
def test_two_kinds_of_signatures_count(key, algorithm):
    """With the hash of the access token where it is there, and clocks that differ by a minute."""
    token = jwt.encode({"alg": algorithm, "kid": key.kid}, claims(at_hash="K7gNU3sdo-OL0wNhqoVWhg", exp=NOW - 59), key)
    assert checked(token, "secret")["sub"] == "s"
    with pytest.raises(NotProven, match="at_hash"):
        checked(token, "another")


def test_no_signature_and_a_shared_secret_prove_nothing():
    """Neither `none` nor a public key that is taken for a shared secret, nor another algorithm of a good key."""
    signed = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(claims())}"
    mac = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    forged = (
        f"{part({'alg': 'none'})}.{part(claims())}.",
        f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        jwt.encode({"alg": "PS256", "kid": "rsa"}, claims(), RSA, algorithms=["PS256"]),
        jwt.encode({"alg": "RS512", "kid": "rsa"}, claims(), RSA, algorithms=["RS512"]),
    )
    for token in forged:
        with pytest.raises(NotProven):
            checked(token)


def test_a_key_that_is_not_known_is_told_apart():
    """The provider may have changed it."""
    other = RSAKey.generate_key(2048, {"kid": "rsa"})
    for kid in ("rsa", "new"):
        with pytest.raises(OtherKey):
            checked(jwt.encode({"alg": "RS256", "kid": kid}, claims(), other))


def test_what_binds_a_login_comes_from_one_secret():
    """State, nonce and verifier differ from each other and between logins; the challenge is RFC 7636's."""
    attempts = [Attempt("one"), Attempt("two")]
    assert len({value for one in attempts for value in (one.state, one.nonce, one.verifier, one.challenge)}) == 8
    assert 43 <= len(ATTEMPT.verifier) <= 128


def test_the_client_shows_its_secret_as_the_provider_wants():
    """In the header with its signs encoded, in the form, or none at all."""
    form, header = openid.exchange_of(PROVIDER, CLIENT, ATTEMPT, "c")
    assert base64.b64decode(header.removeprefix("Basic ")) == b"penstock:100%25+secret%3A"
    assert "client_secret" not in form
    posts = Provider(ISSUER, "a", "t", "j", token_endpoint_auth_methods_supported=("client_secret_post",))
    form, header = openid.exchange_of(posts, CLIENT, ATTEMPT, "c")
    assert (form["client_secret"], header) == (CLIENT.secret, "")
    form, header = openid.exchange_of(PROVIDER, Client("penstock", "", "b", ("openid",)), ATTEMPT, "c")
    assert (form.get("client_secret"), header, form["code_verifier"]) == (None, "", ATTEMPT.verifier)


def test_a_provider_leads_to_safe_places_only():
    """One over https has nothing over http, and is who it says."""
    good = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/a?x=1", "token_endpoint": f"{ISSUER}/t"}
    good["jwks_uri"] = f"{ISSUER}/j"
    assert "?x=1&response_type=code&" in openid.authorization_url(
        openid.read_provider(json.dumps(good).encode(), ISSUER), CLIENT, ATTEMPT
    )
    for lie in ({"issuer": f"{ISSUER}/"}, {"token_endpoint": "http://id.example.net/t"}, {"jwks_uri": "file:///x"}):
        with pytest.raises(NotProven):
            openid.read_provider(json.dumps({**good, **lie}).encode(), ISSUER)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["keys", "kty", "n", "e", "alg", "kid", "use", "crv", "x", "y", "error", "sub", "id_token"])
KEY = st.dictionaries(NAMES, ANYTHING | st.sampled_from(["RSA", "EC", "AQAB", "P-256", "sig"]), max_size=6)
BODIES = st.binary(max_size=200) | st.builds(
    lambda value: json.dumps(value).encode(),
    ANYTHING | st.builds(lambda keys: {"keys": keys}, st.lists(KEY, max_size=3)),
)


@given(BODIES)
def test_garbage_is_not_proven(body):
    """Whatever an endpoint answers, nothing else is raised."""
    for read in (
        openid.read_keys,
        openid.read_tokens,
        lambda body: openid.read_user(body, "s"),
        lambda body: openid.read_provider(body, ISSUER),
    ):
        try:
            read(body)
        except NotProven as why:
            assert len(str(why)) < 500
    openid.read_error(body)


@given(st.text(max_size=100) | st.builds(lambda *parts: ".".join(map(part, parts)), ANYTHING, ANYTHING, ANYTHING))
def test_garbage_is_no_token(text):
    """Nor one that is nested deeply."""
    for token in (text, f"{part({'alg': 'RS256', 'kid': 'rsa'})}.{text}.x", f"{'[' * 90_000}.x.x"):
        with pytest.raises(NotProven):
            checked(token)
