"""Security keys as second factors: asked for after the password, and what lies get nowhere."""

import asyncio
import json

import pyotp
import pytest
from console_house import PASSWORD, T0
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from security_key_house import SITE, Authenticator, is_challenge, made, question
from test_me import sent, told
from typer.testing import CliRunner

from penstock.cli.main import app as cli
from penstock.console.security_keys import MOST_KEYS, NotProven, SecurityKeys
from penstock.model import Audit
from penstock.people import SecurityKey


@pytest.fixture
async def house(tmp_path):
    """In this file every console has an address that keys can be tied to."""
    one = await made(tmp_path)
    yield one
    await one.service.store.close()


async def registered(client, key, name="blue", **lies):
    """The answer to a whole registration."""
    options, fields = question(await sent(client, "/me/keys", key=name, password=PASSWORD))
    assert is_challenge(options["challenge"])
    return await client.post("/me/keys/keep", data={**fields, "answer": key.made(options, **lies)})


async def asked(client, name="desk", **more):
    """The question after a right password."""
    answer = await client.post("/login", data={"name": name, "password": PASSWORD, **more})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    return question(answer)


async def shown(client, key, **lies):
    """The answer to a whole login by key."""
    options, fields = await asked(client, next="/held")
    return await client.post("/login/key", data={**fields, "answer": key.shown(options, **lies)})


@pytest.fixture
async def key(visit):
    """A key that the desk has registered."""
    one = Authenticator()
    assert (await registered(await visit("desk"), one)).headers["location"] == "/me?done=add-key"
    return one


async def test_after_the_password_the_key_is_asked_for(house, visit, key):
    """It leads on to what was wanted; registering, use and the key's name are on record, its counter is kept."""
    client = await visit()
    answer = await shown(client, key)
    assert (answer.status_code, answer.headers["location"]) == (303, "/held")
    page = (await client.get("/me")).text
    assert "blue" in page
    (kept,) = (await house.store.person("desk")).security_keys
    assert (kept.name, kept.counter, kept.used_at) == ("blue", key.counter, T0)
    found = [(one.what, one.reason, one.detail) for one in await house.store.audit(target="desk")]
    assert ("add-security-key", "", "blue") in found
    assert found[0] == ("log-in", "security key blue", "from 127.0.0.1")


@pytest.mark.parametrize(
    "lies",
    [
        {"origin": "https://console.example"}, {"origin": "http://console.example.evil.example"}, {"origin": ""},
        {"rp": "evil.example"}, {"challenge": "AAAAAAAAAAAAAAAAAAAAAA"}, {"kind": "webauthn.create"}, {"flags": 0},
        {"id": b"another"}, {"signature": b"\x30\x06\x02\x01\x01\x02\x01\x01"}, {"counter": 1}, {"counter": 0},
    ],
)  # fmt: skip
async def test_an_answer_that_was_not_made_for_this_question_opens_nothing(house, visit, key, lies):
    """Another origin, site, challenge, kind, key or signature; without a hand on it; a counter that does not go on, as
    of a copy. Each counts as a failure; the right answer still opens."""
    client = await visit()
    answer = await shown(client, key, **lies)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "proves nothing" in told(answer)
    entry = (await house.store.audit(target="desk"))[0]
    assert entry.what == "log-in-failed"
    assert entry.reason.startswith("security key: ")
    assert (await shown(client, key)).status_code == 303


async def test_a_question_is_answered_once_in_time_and_by_its_own_form(house, visit, key):
    """A replay, one that is too old, and one for another purpose open nothing."""
    client = await visit()
    options, fields = await asked(client)
    answer = {**fields, "answer": key.shown(options)}
    assert (await client.post("/login/key", data=answer)).status_code == 303
    assert (await client.post("/login/key", data=answer)).status_code == 401
    options, fields = await asked(client)
    house.now += 301
    assert (await client.post("/login/key", data={**fields, "answer": key.shown(options)})).status_code == 401
    desk = await visit()
    await shown(desk, key)
    options, fields = question(await sent(desk, "/me/keys", key="red", password=PASSWORD))
    data = {**fields, "answer": key.shown({**options, "rpId": "console.example"})}
    assert (await client.post("/login/key", data=data)).status_code == 401


async def test_five_lies_close_the_door(house, visit, key):
    """As five wrong passwords do, also for the right key, for a quarter of an hour."""
    client = await visit()
    for _ in range(5):
        assert (await shown(client, key, origin="http://evil.example")).status_code == 401
    answer = await client.post("/login", data={"name": "desk", "password": PASSWORD})
    assert answer.status_code == 401
    house.now += 901
    assert (await shown(client, key)).status_code == 303


async def test_a_code_goes_in_place_of_a_key_where_there_are_both(house, visit, key):
    """A wrong one does not lead to the question; who has keys alone is asked whatever code comes."""
    await asked(await visit(), code="123456")
    secret = pyotp.random_base32()
    person = replace(await house.store.person("desk"), totp=secret)
    await house.store.keep_person(person, Audit(T0, "t", "set-password", "desk"))
    form = {"name": "desk", "password": PASSWORD}
    code = pyotp.TOTP(secret).at(int(house.now))
    assert (await (await visit()).post("/login", data={**form, "code": "000000"})).status_code == 401
    assert (await (await visit()).post("/login", data={**form, "code": code})).status_code == 303
    assert (await shown(await visit(), key)).status_code == 303


async def test_several_keys_are_named_and_removed_by_whoever_knows_the_password(house, visit, key):
    """Each opens; a name or a key stands once; a removed one opens nothing, and without any the password is enough."""
    client, second = await visit(), Authenticator()
    await shown(client, key)
    wrong = {"key": "red", "password": "wrong"}
    assert (await sent(client, "/me/keys", **wrong)).status_code == 401
    assert "none of your keys" in told(await sent(client, "/me/keys", key="blue", password=PASSWORD))
    assert (await registered(client, key, "red")).status_code == 422
    assert (await registered(client, second, "red")).status_code == 303
    assert (await registered(client, Authenticator(), "green", origin="http://evil.example")).status_code == 422
    for one in (second, key):
        assert (await shown(await visit(), one)).status_code == 303
    assert (await sent(client, "/me/keys/remove", **wrong)).status_code == 401
    assert (await sent(client, "/me/keys/remove", key="gone", password=PASSWORD)).status_code == 404
    assert (await sent(client, "/me/keys/remove", key="red", password=PASSWORD)).status_code == 303
    assert (await shown(await visit(), second)).status_code == 401
    assert (await sent(client, "/me/keys/remove", key="blue", password=PASSWORD)).status_code == 303
    assert (await (await visit()).post("/login", data={"name": "desk", "password": PASSWORD})).status_code == 303
    entry = next(one for one in await house.store.audit(target="desk") if one.what == "remove-security-key")
    assert (entry.who, entry.detail) == ("desk", "blue")


async def test_another_persons_question_registers_nothing(house, visit):
    """Its form, sent by somebody else who is logged in."""
    desk, admin, key = await visit("desk"), await visit("admin"), Authenticator()
    options, fields = question(await sent(desk, "/me/keys", key="x", password=PASSWORD))
    answer = await sent(admin, "/me/keys/keep", secret=fields["secret"], key="x", answer=key.made(options))
    assert answer.status_code == 422
    for name in ("desk", "admin"):
        assert (await house.store.person(name)).security_keys == ()


async def test_a_person_has_so_many_keys_at_most(house, visit):
    """Also where forms are sent at the same time."""
    client = await visit("desk")
    many = tuple(SecurityKey(f"k{n}", _credential(), 0, T0) for n in range(MOST_KEYS - 1))
    person = replace(await house.store.person("desk"), security_keys=many)
    await house.store.keep_person(person, Audit(T0, "t", "add-person", "desk"))
    answers = [await registered(client, Authenticator(), name) for name in ("one", "two")]
    assert [one.status_code for one in answers] == [303, 422]


def _credential():
    from fido2.cose import ES256
    from fido2.webauthn import AttestedCredentialData

    key = Authenticator()
    return bytes(
        AttestedCredentialData.create(bytes(16), key.id, ES256.from_cryptography_key(key.private.public_key()))
    )


@pytest.mark.parametrize("site", ["", "http://192.0.2.1", "http://[2001:db8::1]:8025"])
async def test_without_a_name_to_be_tied_to_there_are_no_keys(house, site):
    """Browsers tie keys to names; the page leaves them out, and a form that is sent anyway is refused in words."""
    keys = SecurityKeys(house.store, lambda: T0, site)
    assert not keys.is_possible
    assert SecurityKeys(house.store, lambda: T0, SITE).is_possible


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=30).map(bytes.hex),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(("id", "rawId", "type", "response", "clientDataJSON", "authenticatorData",
                                       "attestationObject", "signature", "userHandle")) | st.text(max_size=5), inner,
                      max_size=6),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | json_values.map(json.dumps) | st.integers(0, 6000).map(lambda depth: "[" * depth))
def test_garbage_is_no_answer(tmp_path_factory, text):
    """Whatever is sent is NotProven, at the login and for a new key; nothing else comes out."""

    async def work():
        from penstock.store.memory import MemoryStore

        store = MemoryStore(now=lambda: T0)
        await store.open()
        key = SecurityKey("k", _credential(), 0, T0)
        from penstock.people import Person, Role

        person = Person("ann", Role.READ, "x", security_keys=(key,))
        await store.keep_person(person, Audit(T0, "t", "add-person", "ann"))
        keys = SecurityKeys(store, lambda: T0, SITE)
        with pytest.raises(NotProven):
            await keys.prove((await keys.ask(person)).secret, text)
        with pytest.raises(NotProven):
            await keys.keep("ann", (await keys.ask_new(person)).secret, text, "new")
        with pytest.raises(NotProven):
            await keys.prove(text, text)

    asyncio.run(work())


async def test_a_lost_key_is_taken_away_by_command(house, visit, key, tmp_path):
    """The list names who has which; then sessions end, and the password alone opens again."""
    (tmp_path / "p.toml").write_text(f'[store]\npath = "{tmp_path}/penstock.sqlite"\n')
    client = await visit()
    await shown(client, key)

    async def people(*words):
        return await asyncio.to_thread(CliRunner().invoke, cli, ["people", *words, "-c", str(tmp_path / "p.toml")])

    assert "key blue" in (await people("list")).stdout
    (listed,) = [one for one in json.loads((await people("list", "--json")).stdout) if one["name"] == "desk"]
    assert [one["name"] for one in listed["security_keys"]] == ["blue"]
    assert (await people("lost-key", "desk", "--key", "red")).exit_code == 2
    assert (await client.get("/")).status_code == 200
    done = await people("lost-key", "desk")
    assert "removed: blue; second factor of desk: no" in done.stdout
    assert (await client.get("/")).status_code == 303
    assert (await client.post("/login", data={"name": "desk", "password": PASSWORD})).status_code == 303
    entries = [one.what for one in await house.store.audit(target="desk")]
    assert {"remove-security-key", "end-sessions"} <= set(entries)
    assert (await people("lost-key", "desk")).exit_code == 2
