"""Single sign-on, against a real provider that asks for PKCE, and against one that lies."""

import html
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from console_house import EVIL, PASSWORD
from markupsafe import escape
from msgspec.structs import replace
from sign_on_house import ROLES, SITE, failures, made, outward, said, told
from typer.testing import CliRunner

from neighbours.glewlwyd import SECRET, Glewlwyd
from penstock.cli.main import app as cli
from penstock.config import ConfigurationError, parse_settings
from penstock.console.language import catalogue
from penstock.console.sign_on import BACK, Why
from penstock.model import Audit
from penstock.people import Key, Person, Role


@pytest.fixture(scope="module")
def provider():
    """One for all tests here; starting it takes half a second."""
    with Glewlwyd(SITE + BACK) as one:
        yield one


@pytest.fixture
async def house(tmp_path, provider, request):
    """In this file every house has single sign-on; its parameter is what the settings say besides."""
    one = await made(tmp_path, provider.issuer, getattr(request, "param", ROLES))
    yield one
    await one.service.store.close()


async def signed_on(client, provider, user, wish=""):
    """What a browser gets that comes back from the provider."""
    return await client.get(provider.log_in(user, await outward(client, wish)))


async def whats(house, name):
    """What happened to somebody, newest first."""
    return [one.what for one in await house.store.audit(target=name)]


async def test_a_person_comes_in_and_goes_out(house, visit, provider):
    """Made at the first login as their groups say; in and out are on record, and no forms are asked for."""
    provider.keep("ann", email="Ann@Example.net", email_verified="1", groups=["abuse-desk", "other"])
    client = await visit()
    assert "Log in with Example &lt;ID&gt;" in (await client.get("/login")).text
    answer = await signed_on(client, provider, "ann", "/held")
    assert (answer.status_code, answer.headers["location"]) == (303, "/held")
    page = (await client.get("/")).text
    assert "ann@example.net" in page
    person = await house.store.person("ann@example.net")
    assert (person.role, person.tenant, person.password) == (Role.DESK, "", "")
    await client.post("/logout", data={"form_token": re.search(r'value="(\w{20,})"', page)[1]})
    assert (await client.get("/")).status_code == 303
    assert await whats(house, "ann@example.net") == ["log-out", "log-in", "add-person"]
    assert (await client.post("/login", data={"name": "ann@example.net", "password": ""})).status_code == 401


async def test_the_first_row_that_fits_gives_role_and_tenant_each_time(house, visit, provider):
    """A change at the provider counts at the next login, and who has no role any more is put out at once."""
    client = await visit()
    for groups, role, tenant in (
        (["abuse-desk", "resellers"], Role.DESK, "example.com"),
        (["resellers", "chiefs"], Role.ADMIN, ""),
        (["abuse-desk"], Role.DESK, ""),
    ):
        provider.keep("bob", email="bob@example.net", email_verified="1", groups=groups)
        assert (await signed_on(client, provider, "bob")).status_code == 303
        person = await house.store.person("bob@example.net")
        assert (person.role, person.tenant) == (role, tenant)
    assert (await client.get("/")).status_code == 200
    await house.store.keep_key(Key("d", "token", "bob@example.net", Role.DESK, 1.0), Audit(1.0, "t", "add-token", "x"))
    provider.keep("bob", email="bob@example.net", email_verified="1", groups=["nobody's"])
    answer = await signed_on(await visit(), provider, "bob")
    assert (answer.status_code, said(answer)) == (403, told(Why.NO_ROLE))
    assert (await client.get("/")).status_code == 303
    assert await house.store.keys(kind="token", person="bob@example.net") == []
    assert (await whats(house, "bob@example.net"))[:2] == ["log-in-failed", "end-sessions"]


@pytest.mark.parametrize("house", [""], indirect=True)
async def test_without_rows_only_people_who_were_made_come_in(house, visit, provider):
    """With the role that `penstock people` gave; the subject is kept, and another with the same name stays out."""
    provider.keep("carol", email="carol@example.net", email_verified="1")
    provider.keep("mallory", email="carol@example.net", email_verified="1")
    answer = await signed_on(await visit(), provider, "carol")
    assert (answer.status_code, said(answer)) == (403, told(Why.NO_ROLE))
    await house.store.keep_person(Person("carol@example.net", Role.READ, ""), Audit(1.0, "t", "add-person", "x"))
    assert (await signed_on(await visit(), provider, "carol")).status_code == 303
    person = await house.store.person("carol@example.net")
    assert (person.role, person.subject.split(" ")[0]) == (Role.READ, provider.issuer)
    answer = await signed_on(await visit(), provider, "mallory")
    assert (answer.status_code, said(answer)) == (403, told(Why.SOMEBODY_ELSE))


async def test_a_changed_address_at_the_provider_makes_nobody_new(house, visit, provider):
    """Whoever came in before keeps name, role and sessions, also while the new address is not verified or is another's
    here; the old address, given to somebody else, opens nothing."""
    provider.keep("erin", email="erin@example.net", email_verified="1", groups=["abuse-desk"])
    assert (await signed_on(await visit(), provider, "erin")).status_code == 303
    before = await house.store.people()
    for address, verified in (("erin@married.example", "1"), ("erin@unproven.example", "0"), ("admin", "1")):
        provider.keep("erin", email=address, email_verified=verified, groups=["abuse-desk"])
        client = await visit()
        assert (await signed_on(client, provider, "erin")).status_code == 303
        assert "erin@example.net" in (await client.get("/")).text
    assert await house.store.people() == before
    provider.keep("heir", email="erin@example.net", email_verified="1", groups=["chiefs"])
    answer = await signed_on(await visit(), provider, "heir")
    assert (answer.status_code, said(answer)) == (403, told(Why.SOMEBODY_ELSE))
    provider.keep("erin", email="erin@married.example", email_verified="1", groups=["nobody's"])
    answer = await signed_on(await visit(), provider, "erin")
    assert (answer.status_code, said(answer)) == (403, told(Why.NO_ROLE))
    assert (await client.get("/")).status_code == 303


async def test_of_two_made_for_one_subject_the_one_who_is_called_so_comes_in(house, visit, provider):
    """As they were made when names were asked first; else it is the older one."""
    provider.keep("fay", email="fay@example.net", email_verified="1", groups=["abuse-desk"])
    assert (await signed_on(await visit(), provider, "fay")).status_code == 303
    first = await house.store.person("fay@example.net")
    twin = replace(first, name="fay@new.example", added_at=first.added_at + 1)
    await house.store.keep_person(twin, Audit(1.0, "t", "add-person", twin.name))
    for address, name in (("fay@new.example", twin.name), ("fay@third.example", first.name)):
        provider.keep("fay", email=address, email_verified="1", groups=["abuse-desk"])
        client = await visit()
        assert (await signed_on(client, provider, "fay")).status_code == 303
        assert name in (await client.get("/")).text


async def test_who_has_a_password_here_is_not_taken_over(house, visit, provider):
    """A name at the provider is no proof of being the administrator who was here before."""
    person = await house.store.person("admin")
    await house.store.keep_person(replace(person, name="root@example.net"), Audit(1.0, "t", "add-person", "x"))
    provider.keep("eve", email="root@example.net", email_verified="1", groups=["chiefs"])
    answer = await signed_on(await visit(), provider, "eve")
    assert (answer.status_code, said(answer)) == (403, told(Why.LOCAL))
    assert (await house.store.person("root@example.net")).subject == ""


@pytest.mark.parametrize(
    ("user", "claims"),
    [
        ("dave", {"email": "dave@example.net", "email_verified": "0"}),
        ("dan", {"email": "dan@example.net"}),
        ("dot", {"email_verified": "1"}),
        ("dee", {"email": "two words", "email_verified": "1"}),
    ],
)
async def test_an_address_that_is_not_verified_is_no_name(house, visit, provider, user, claims):
    """Nor is one that is missing, or no name."""
    provider.keep(user, groups=["chiefs"], **claims)
    answer = await signed_on(await visit(), provider, user)
    assert (answer.status_code, said(answer)) == (403, told(Why.NAMELESS))


@pytest.mark.parametrize("house", ['person_claim = "preferred_username"\n' + ROLES], indirect=True)
async def test_names_that_would_like_to_be_code_are_text(house, visit, provider):
    """On every page that shows them, and in the audit."""
    name = EVIL.replace(" ", "/").lower()
    provider.keep("xavier", email="x@example.net", preferred_username=name, groups=["chiefs"])
    client = await visit()
    assert (await signed_on(client, provider, "xavier")).status_code == 303
    for page in ("/", "/audit", "/settings", "/login"):
        text = (await client.get(page)).text
        assert "<script>alert" not in text
        assert page in ("/settings", "/login") or escape(name) in text, page
    settings = (await client.get("/settings")).text
    assert SECRET not in settings
    assert html.escape(SECRET) not in settings


async def test_only_the_browser_that_went_out_comes_back(house, visit, provider):
    """Another's, one without its cookie, one with another state, or a second time: all begin anew."""
    provider.keep("ann", email="ann@example.net", email_verified="1", groups=["abuse-desk"])
    client, other = await visit(), await visit()
    back = provider.log_in("ann", await outward(client))
    await outward(other)
    for one, url in ((other, back), (await visit(), back), (client, re.sub("state=[^&]+", "state=é", back))):
        answer = await one.get(url)
        assert (answer.status_code, said(answer)) == (400, told(Why.OTHER_WINDOW))
    answer = await signed_on(client, provider, "ann")
    assert answer.status_code == 303
    cookies = [one for one in answer.headers.get_list("set-cookie") if "sign-on" in one]
    assert ["Max-Age=0" in one for one in cookies] == [True]
    assert (await client.get(back)).status_code == 400


async def test_a_code_that_was_put_in_is_refused_by_the_provider(house, visit, provider):
    """Another's code under the right state: PKCE and nonce hold."""
    provider.keep("ann", email="ann@example.net", email_verified="1", groups=["abuse-desk"])
    provider.keep("mallory", email="m@example.net", email_verified="1", groups=["chiefs"])
    victim, attacker = await visit(), await visit()
    code = parse_qs(urlsplit(provider.log_in("mallory", await outward(attacker))).query)["code"][0]
    state = parse_qs(urlsplit(await outward(victim)).query)["state"][0]
    answer = await victim.get(BACK, params={"state": state, "code": code})
    assert (answer.status_code, said(answer)) == (403, told(Why.NOT_PROVEN))


async def test_a_changed_key_is_found_without_waiting(house, visit, provider):
    """The provider signs by another algorithm too; the old key is gone."""
    provider.keep("ann", email="ann@example.net", email_verified="1", groups=["abuse-desk"])
    for algorithm in ("RS256", "ES256", "RS256"):
        provider.change_key(algorithm)
        assert (await signed_on(await visit(), provider, "ann")).status_code == 303


async def test_while_the_provider_is_away_passwords_open(house, visit, provider):
    """The page says so; nobody is blamed for it, and afterwards all is as it was."""
    provider.keep("ann", email="ann@example.net", email_verified="1", groups=["abuse-desk"])
    client = await visit()
    back = provider.log_in("ann", await outward(client))
    provider.stop()
    try:
        answer = await client.get(back)
        assert (answer.status_code, said(answer)) == (503, told(Why.AWAY))
        house.now += 3601
        answer = await client.get("/login/sign-on")
        assert (answer.status_code, said(answer)) == (503, told(Why.AWAY))
        form = {"name": "desk", "password": PASSWORD}
        assert (await client.post("/login", data=form)).status_code == 303
        assert not await failures(house)
    finally:
        provider.start()
    house.now -= 3601
    assert (await signed_on(client, provider, "ann")).status_code == 303


async def test_a_login_that_is_called_off_is_said_in_words(house, visit):
    """Nothing of what the address says is shown."""
    client = await visit()
    state = parse_qs(urlsplit(await outward(client)).query)["state"][0]
    answer = await client.get(BACK, params={"state": state, "error": "access_denied", "error_description": EVIL})
    assert (answer.status_code, said(answer)) == (403, told(Why.CALLED_OFF))
    assert "alert(" not in answer.text


async def test_a_login_leads_to_no_other_site(house, visit, provider):
    """Whatever `next` says, there and back."""
    provider.keep("ann", email="ann@example.net", email_verified="1", groups=["abuse-desk"])
    for evil in ("https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example"):
        client = await visit()
        answer = await signed_on(client, provider, "ann", evil)
        assert answer.headers["location"] == "/"
        away = await outward(client, evil)
        assert away.startswith(provider.url)


async def test_after_thirty_failures_the_way_back_waits(house, visit, provider):
    """So that nobody has the provider asked without end; they are on record."""
    client = await visit()
    for _ in range(30):
        assert (await client.get(BACK, params={"state": "x", "code": "y"})).status_code == 400
    assert (await client.get(BACK, params={"state": "x"})).status_code == 429
    assert (await client.get("/login/sign-on")).status_code == 429
    house.now += 901
    assert (await client.get("/login/sign-on")).status_code == 303
    assert [one.reason for one in await failures(house)] == ["single sign-on: other_window"] * 30


def test_german_says_why_too():
    """Every reason, with the same fields."""
    german = catalogue("de")
    assert all(one.value in german for one in Why)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('issuer = "http://id.example.net"', "no address of a provider"),
        ('issuer = "https://id.example.net"\nclient_id = ""', "client_id is missing"),
        ('issuer = "https://id.example.net"\nclient_id = "x"\nscopes = ["email"]', "openid"),
        ('issuer = "https://id.example.net"\nclient_id = "x"\nnew_people = true', "needs roles"),
    ],
)
def test_settings_that_would_be_unsafe_are_faults(text, wanted):
    """Each says what is wanted."""
    with pytest.raises(ConfigurationError, match=wanted):
        parse_settings(f'[console]\nbase_url = "https://c.example"\n[console.oidc]\n{text}')


def test_it_needs_an_address_to_come_back_to():
    """Without base_url the provider does not know where."""
    with pytest.raises(ConfigurationError, match="base_url"):
        parse_settings('[console.oidc]\nclient_id = "x"\nissuer = "https://id.example.net"')


def test_a_person_is_added_without_a_password(tmp_path):
    """For whom only single sign-on opens; a second factor would belong to a password."""
    (tmp_path / "penstock.toml").write_text(f'[store]\npath = "{tmp_path}/penstock.sqlite"\n')
    more = ["-c", str(tmp_path / "penstock.toml")]
    runner = CliRunner()
    refused = runner.invoke(cli, ["people", "add", "ann@example.net", "--no-password", "--totp", *more])
    assert refused.exit_code == 2
    assert runner.invoke(cli, ["people", "add", "ann@example.net", "--no-password", *more]).exit_code == 0
    found = json.loads(runner.invoke(cli, ["people", "list", "--json", *more]).stdout)
    assert [(one["name"], one["role"]) for one in found] == [("ann@example.net", "desk")]
