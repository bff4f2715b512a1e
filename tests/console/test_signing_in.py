"""Coming in: passwords, second factors, throttling, sessions, forms from elsewhere."""

import re

import pyotp
from console_house import MINE, PASSWORD, PEOPLE
from msgspec.structs import replace

from penstock.console.entrance import hash_password
from penstock.model import Audit


async def test_a_session_lasts_its_hours_and_is_on_record(house, visit):
    """The cookie is not for scripts; logging in and out stands in the audit."""
    client = await visit()
    answer = await client.post("/login", data={"name": "Desk", "password": PASSWORD, "next": "/held"})
    assert answer.headers["location"] == "/held"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "samesite=lax" in answer.headers["set-cookie"].lower()
    assert (await client.get("/")).status_code == 200
    house.now += 12 * 3600 + 1
    assert (await client.get("/")).status_code == 303
    assert [one.what for one in await house.store.audit(target="desk")][:1] == ["log-in"]


async def test_logging_out_ends_the_session_everywhere(house, visit):
    """Its secret opens nothing afterwards."""
    client = await visit("desk")
    cookie = dict(client.cookies)
    token = re.search(r'value="(\w+)"', (await client.get("/")).text)[1]
    await client.post("/logout", data={"form_token": token})
    client.cookies.update(cookie)
    assert (await client.get("/")).status_code == 303


async def test_a_second_factor_is_asked_for_and_counts_once(house, visit):
    """Without the code, or with one that was used, nobody comes in."""
    secret = pyotp.random_base32()
    person = replace(PEOPLE["desk"], name="two", totp=secret, password=hash_password(PASSWORD))
    await house.store.keep_person(person, Audit(house.now, "t", "add-person", "two"))
    code = pyotp.TOTP(secret).at(int(house.now))
    client = await visit()

    async def tried(**more):
        return (await client.post("/login", data={"name": "two", "password": PASSWORD, **more})).status_code

    assert await tried() == 401
    assert await tried(code=code) == 303
    assert await tried(code=code) == 401
    house.now += 30
    assert await tried(code=pyotp.TOTP(secret).at(int(house.now))) == 303


async def test_after_five_failures_even_the_right_password_waits(house, visit):
    """For a quarter of an hour, and only from there: others still come in."""
    client = await visit()
    for _ in range(5):
        assert (await client.post("/login", data={"name": "desk", "password": "wrong"})).status_code == 401
    right = {"name": "desk", "password": PASSWORD}
    assert (await client.post("/login", data=right)).status_code == 401
    assert (await client.post("/login", data={**right, "name": "admin"})).status_code == 303
    house.now += 901
    assert (await client.post("/login", data=right)).status_code == 303
    assert "log-in-failed" in {one.what for one in await house.store.audit(target="desk")}


async def test_a_login_leads_to_no_other_site(house, visit):
    """Whatever `next` says."""
    client = await visit()
    for evil in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = await client.post("/login", data={"name": "desk", "password": PASSWORD, "next": evil})
        assert answer.headers["location"] == "/"


async def test_forms_from_elsewhere_do_nothing(house, visit):
    """Without the token of the session, with another origin, or said by the browser to come from another site."""
    client = await visit("desk")
    path = f"/steer/suspend/{MINE}"
    token = re.search(r'value="(\w+)"', (await client.get("/")).text)[1]
    good = {"form_token": token}
    assert (await client.post(path)).status_code == 403
    assert (await client.post(path, data={"form_token": "0" * 48})).status_code == 403
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await client.post(path, data=good, headers=headers)).status_code == 403
    assert (await house.store.account(MINE)).standing == "poor"
    headers = {"Origin": "http://console.example", "Sec-Fetch-Site": "same-origin"}
    assert (await client.post(path, data=good, headers=headers)).status_code == 303
    assert (await house.store.account(MINE)).standing == "suspended"


async def test_a_body_without_end_is_refused(house, visit):
    """By its announced length, and where it lies about it."""
    client = await visit()
    assert (await client.post("/login", content=b"x" * 300_000)).status_code == 413
