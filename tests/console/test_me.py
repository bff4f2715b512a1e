"""What people see and change of themselves: the password, and where they are logged in."""

import asyncio
import json
import re
import time

import pytest
from console_house import PASSWORD, PEOPLE, T0
from msgspec.structs import replace
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from typer.testing import CliRunner

from penstock.cli.main import app as cli
from penstock.console.entrance import digest_of
from penstock.console.sessions import sessions_of
from penstock.model import Audit
from penstock.people import Key, Role

NEW = "horse battery correct"


async def sent(client, path, **form):
    """A form of the page about oneself, with its token."""
    token = re.search(r'name="form_token" value="(\w+)"', (await client.get("/me")).text)[1]
    return await client.post(path, data={"form_token": token, **form})


async def changed(client, old=PASSWORD, new=NEW, again=None):
    return await sent(client, "/me/password", old=old, new=new, again=new if again is None else again)


async def opens(client, password):
    """Whether a password logs the desk in."""
    return (await client.post("/login", data={"name": "desk", "password": password})).status_code == 303


def told(answer):
    """What the page says went wrong."""
    return HTMLParser(answer.text).css_first("[role=alert]").text()


def seen(answer):
    """(from, last seen) of each session, newest first."""
    rows = HTMLParser(answer.text).css("#main tbody tr")
    return [(row.css("td")[1].text(), row.css("td")[2].css_first("time").attributes["datetime"]) for row in rows]


async def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(house, visit):
    """The old one opens nothing more; tokens stay; who did it is on record."""
    client, other = await visit("desk"), await visit("desk")
    before = dict(client.cookies)
    headers = await house.token("desk")
    answer = await changed(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/me?done=password")
    assert "Your password is changed" in (await client.get("/me?done=password")).text
    assert (await other.get("/")).status_code == 303
    other.cookies.update(before)
    assert (await other.get("/")).status_code == 303
    assert not await opens(await visit(), PASSWORD)
    assert await opens(await visit(), NEW)
    assert (await client.get("/api/v1/me", headers=headers)).status_code == 200
    entries = [one for one in await house.store.audit(target="desk") if one.what in ("set-password", "end-sessions")]
    assert [(one.who, one.what) for one in entries] == [("desk", "end-sessions"), ("desk", "set-password")]


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"old": "wrong"}, 401, "does not fit"),
        ({"again": NEW + "!"}, 422, "differ"),
        ({"new": "short"}, 422, "too short"),
    ],
)
async def test_a_change_that_does_not_fit_leaves_all_as_it_was(house, visit, form, status, words):
    """It says what is wrong; the other sessions go on."""
    client, other = await visit("desk"), await visit("desk")
    answer = await changed(client, **form)
    assert answer.status_code == status
    assert words in told(answer)
    assert '/language?to=de&amp;next=%2Fme"' in answer.text
    assert (await other.get("/")).status_code == 200
    assert await opens(await visit(), PASSWORD)


async def test_who_finds_an_open_browser_cannot_try_passwords_without_end(house, visit):
    """After five even the right one waits, here as at the login; each is on record."""
    client = await visit("desk")
    for _ in range(5):
        assert (await changed(client, old="guess")).status_code == 401
    assert (await changed(client)).status_code == 401
    assert not await opens(await visit(), PASSWORD)
    failures = [one for one in await house.store.audit(target="desk") if one.what == "log-in-failed"]
    assert [one.reason for one in failures] == ["for a new password"] * 5
    house.now += 901
    assert (await changed(client)).status_code == 303


async def test_a_change_of_role_meanwhile_is_kept(house, visit, monkeypatch):
    """And where an administrator set another password meanwhile, that one stays."""
    change = house.store.change_person
    desk = await house.store.person("desk")

    async def late(name, how, audit):
        await house.store.keep_person(meanwhile, Audit(T0, "admin", "add-person", name))
        return await change(name, how, audit)

    monkeypatch.setattr(house.store, "change_person", late)
    client, meanwhile = await visit("desk"), replace(desk, role=Role.READ)
    assert (await changed(client)).status_code == 303
    person = await house.store.person("desk")
    assert (person.role, person.password != desk.password) == (Role.READ, True)
    meanwhile = replace(desk, password="$argon2id$other")
    assert (await changed(client, old=NEW, new=NEW + "!")).status_code == 401
    assert await house.store.person("desk") == meanwhile


async def test_who_comes_in_by_single_sign_on_has_no_password_to_change(house, visit):
    """The page says so, and a form that is sent anyway sets none."""
    client = await visit("desk")
    person = replace(PEOPLE["desk"], password="")
    await house.store.keep_person(person, Audit(T0, "t", "add-person", "desk"))
    assert "single sign-on" in (await client.get("/me")).text
    assert (await changed(client, old="")).status_code == 401
    assert await house.store.person("desk") == person


async def test_sessions_are_shown_and_ended_one_by_one(house, visit):
    """Since when, from where and last seen, to the minute; one that ended is out at once."""
    lost = await visit("desk")
    house.now += 3600
    client = await visit("desk")
    house.now += 30
    assert [at for _, at in seen(await client.get("/me"))] == ["2027-01-15T09:00:30Z", "2027-01-15T08:00:00Z"]
    house.now += 60
    await lost.get("/held")
    assert seen(await client.get("/me"))[1] == ("127.0.0.1", "2027-01-15T09:01:30Z")
    (id,) = [digest_of(one) for one in dict(lost.cookies).values()]
    answer = await sent(client, "/me/sessions", session=id)
    assert answer.headers["location"] == "/me?done=end-session&count=1"
    assert (await lost.get("/")).status_code == 303
    assert (await client.get("/")).status_code == 200
    entry = (await house.store.audit(target="desk"))[0]
    assert (entry.who, entry.what, entry.detail) == ("desk", "end-session", "from 127.0.0.1")


async def test_all_other_sessions_are_ended_at_once_but_nobody_elses(house, visit):
    """A digest of somebody else's is not found."""
    client, second, third, admin = [await visit(name) for name in ("desk", "desk", "desk", "admin")]
    (theirs,) = [digest_of(one) for one in dict(admin.cookies).values()]
    assert (await sent(client, "/me/sessions", session=theirs)).headers["location"].endswith("count=0")
    assert (await sent(client, "/me/sessions")).headers["location"].endswith("count=2")
    for one, status in ((client, 200), (second, 303), (third, 303), (admin, 200)):
        assert (await one.get("/")).status_code == status


async def test_a_session_of_before_is_shown_without_where_from(house, visit):
    """And one that is over is not shown."""
    client = await visit("desk")
    for digest, until in (("old", T0 + 99), ("over", T0 - 1)):
        key = Key(digest, "session", "desk", Role.DESK, T0 - 9, until)
        await house.store.keep_key(key, Audit(T0, "t", "log-in", "desk"))
    assert [place for place, _ in seen(await client.get("/me"))] == ["127.0.0.1", "–"]
    assert len(await sessions_of(house.store, "", T0)) == 2


async def test_the_command_lists_and_ends_sessions(house, visit, tmp_path):
    """Of one person or of all; one by the beginning of its id, which must be clear."""
    (tmp_path / "p.toml").write_text(f'[store]\npath = "{tmp_path}/penstock.sqlite"\n')
    house.now = time.time()
    first, second, admin = [await visit(name) for name in ("desk", "desk", "admin")]
    (id,) = [digest_of(one) for one in dict(first.cookies).values()]

    async def people(*words):
        return await asyncio.to_thread(CliRunner().invoke, cli, ["people", *words, "-c", str(tmp_path / "p.toml")])

    found = json.loads((await people("sessions", "desk", "--json")).stdout)
    assert [(one["person"], one["client"]) for one in found] == [("desk", "127.0.0.1")] * 2
    assert "admin" in (await people("sessions")).stdout
    assert (await people("log-out", "desk", "--session", "nothing")).exit_code == 2
    assert (await people("log-out", "nobody")).exit_code == 2
    assert (await people("log-out", "desk", "--session", id[:12])).exit_code == 0
    assert [(await one.get("/")).status_code for one in (first, second, admin)] == [303, 200, 200]
    assert "ended sessions of desk: 1" in (await people("log-out", "desk")).stdout
    assert [(await one.get("/")).status_code for one in (second, admin)] == [303, 200]
