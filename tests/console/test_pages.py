"""What pages show: everything of a hostile message as text, nothing from elsewhere, in English and German."""

import re
from pathlib import Path

import pytest
from console_house import EVIL, MINE, OTHERS, decision
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from starlette.requests import Request

import penstock.console
from penstock.attempts import Attempt
from penstock.console.app import DOORS
from penstock.console.entrance import Viewer
from penstock.console.language import catalogue, chosen
from penstock.console.pages import now, sign_on
from penstock.console.site import Visit
from penstock.judge.limits import Override
from penstock.judge.reference import make_link
from penstock.model import Action, Held, make_id
from penstock.people import Role
from penstock.store.ports import HeldMessage, Records, StoreUnavailable
from penstock.workers.notices import sentence

TEMPLATES = Path(penstock.console.__file__).parent / "templates"


SIGN_ON = {door.path for door in sign_on.DOORS}


def pages(house):
    """Every page's path, with something to show."""
    for door in DOORS:
        if door.method == "GET" and door.path not in ("/language", "/now/events", "/reports.csv", *SIGN_ON):
            id = "case1" if door.path.startswith("/cases") else house.ids["mine"]
            path = door.path.replace("{account:path}", MINE).replace("{id}", id)
            yield path.replace("{link}", make_link(house.ids["mine"], house.site.rules.reference_key))


async def test_pages_have_nothing_inline_and_nothing_from_elsewhere(house, visit):
    """No script, style or handler within; a policy that forbids them; nothing that a message brought along is code."""
    client = await visit("admin")
    for path in pages(house):
        answer = await client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        tree = HTMLParser(answer.text)
        for node in tree.css("*"):
            names = node.attributes
            assert not [name for name in names if name.startswith("on") or name == "style"], (path, node.html[:200])
            for name in ("src", "href", "action", "formaction"):
                assert not (names.get(name) or "/").startswith(("http:", "https:", "//", "javascript:")), (path, names)
        assert not [one for one in tree.css("script") if one.text() or not one.attributes["src"].startswith("/static/")]
        assert not tree.css("img, iframe, object, embed, style, base")


def test_every_sentence_of_the_templates_is_in_german_too():
    """What a template says in quotes is in the catalogue; keys made of parts are tried by the pages above."""
    said = set()
    for path in TEMPLATES.glob("*.html"):
        said |= {one[0] or one[1] for one in re.findall(r"""\bt\((?:"([^"]+)"|'([^']+)')[,)]""", path.read_text())}
    assert len(said) > 200
    assert not said - set(catalogue("de"))


async def test_hostile_text_is_shown_as_text(house, visit):
    """Subject, findings, links, attachment names and hidden text of the held message, all as they are."""
    client = await visit("desk")
    for path in (f"/held/{house.ids['mine']}", f"/decisions/{house.ids['mine']}"):
        text = HTMLParser((await client.get(path)).text).body.text()
        assert EVIL in text
        assert "<img src=x onerror=alert(6)>.exe" in text
        assert "{{7*7}}" in text


async def test_one_account_shows_its_owners_habits_its_places_and_what_came_back(house, visit):
    """What the pipeline remembered; the page and the API say the same, and what came back is turned page by page."""
    attempt = Attempt(house.now - 60, "joe@example.com", "198.51.100.9", "imap", "Thunderbird")
    await house.service.pipeline.logged_in(attempt)
    await house.service.pipeline.set_limit(MINE, Override("messages", "hour", 7), who="ann", reason="", now=house.now)
    client = await visit("desk")
    tree = HTMLParser((await client.get(f"/accounts/{MINE}")).text)
    assert "198.51.100.0/24" in tree.css_first("[aria-labelledby=logins]").text()
    assert "7 messages" in " ".join(tree.css_first("[aria-labelledby=limits]").text().split())
    assert "Learnt from 0 of 0 messages" in tree.css_first("[aria-labelledby=usual]").text()
    marks = {row.attributes["data-mark"] for row in tree.css("table.numbers tbody tr")}
    assert marks == {"A"}
    first = HTMLParser((await client.get(f"/events/{MINE}")).text)
    more = first.css_first("tr.more a").attributes["href"]
    second = HTMLParser((await client.get(more)).text)
    assert [len(tree.css("#rows tr:not(.more)")) for tree in (first, second)] == [50, 10]
    headers = await house.token("desk")
    view = (await client.get("/api/v1/account", params={"account": MINE}, headers=headers)).json()
    assert view["logins"][0]["source"] == view["sources"][0]["source"] == "198.51.100.0/24"
    assert len(view["events"]) == 50
    place = None
    times = []
    while place != "":
        params = {"account": MINE, "limit": 25} | ({"after": place} if place else {})
        found = (await client.get("/api/v1/account/events", params=params, headers=headers)).json()
        times += [row["at"] for row in found["rows"]]
        place = found["next"] or ""
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 60


async def test_what_is_taught_at_the_console_is_learnt_on_record_and_undone(house, visit):
    """Of a held message, which stays held; by page and by API alike."""
    client, id = await visit("desk"), make_id(house.now - 900, 15)
    words = (
        b"Dear customer, your mailbox is nearly full and will be closed today unless you confirm your password here: "
    )
    raw = b"From: joe@example.com\r\nSubject: Your mailbox\r\n\r\n" + words + b"http://mailbox.evil.example/confirm\r\n"
    held = Held(id, id, MINE, house.now, "joe@example.com", ("ann@example.org",), len(raw), "PS-ACCOUNT")
    row = decision(id, MINE, Action.HOLD, "Your mailbox")
    await house.store.update((), lambda: Records(decisions=(row,), held=(HeldMessage(held, raw),)))
    token = re.search(r'value="(\w+)"', (await client.get("/learnt")).text + (await client.get("/held")).text)[1]
    data = {"form_token": token, "verdict": "abuse", "reason": "phish"}
    assert (await client.post(f"/decisions/{id}", data=data)).headers["location"].endswith("done=taught")
    assert (await client.post(f"/decisions/{id}", data=data)).headers["location"].endswith("done=known")
    assert (await client.post(f"/decisions/{id}", data=data | {"verdict": "perhaps"})).status_code == 409
    assert (await house.store.held_one(id)).state == "held"
    page = HTMLParser((await client.get("/learnt")).text)
    example = page.css_first("input[name=id]").attributes["value"]
    answer = await client.post("/learnt", data={"form_token": token, "id": example, "reason": "no, his own"})
    assert answer.headers["location"] == "/learnt?done=unlearnt&count=1"
    assert not HTMLParser((await client.get("/learnt")).text).css("input[name=id]")
    done = [(one.who, one.what, one.reason) for one in await house.store.audit(target=MINE)][:2]
    assert sorted(done) == [("desk", "learn-abuse", "phish"), ("desk", "undo-example", "no, his own")]
    headers, body = await house.token("desk"), {"ids": [id], "verdict": "legit"}
    told = (await client.post("/api/v1/learnt", json=body, headers=headers)).json()
    assert told["taken"] == 1
    undone = await client.post("/api/v1/learnt/undo", json={"ids": told["ids"]}, headers=headers)
    assert undone.json() == {"undone": 1}


async def test_a_limit_is_set_and_taken_back(house, visit):
    """For some days, in the place of the plan's; what is no limit is refused."""
    client = await visit("desk")
    token = re.search(r'value="(\w+)"', (await client.get("/held")).text)[1]
    data = {"form_token": token, "limit": "recipients/day", "most": "50", "days": "3", "reason": "newsletter"}
    assert (await client.post(f"/limits/{MINE}", data=data)).status_code == 303
    headers = await house.token("desk")
    view = (await client.get("/api/v1/account", params={"account": MINE}, headers=headers)).json()
    assert view["overrides"] == [["recipients", "day", 50, house.now + 3 * 86400]]
    assert (await client.post(f"/limits/{MINE}", data=data | {"limit": "letters/year"})).status_code == 409
    body = {"account": MINE, "unit": "recipients", "window": "day", "most": -1}
    assert (await client.post("/api/v1/account/limit", json=body, headers=headers)).status_code == 200
    view = (await client.get("/api/v1/account", params={"account": MINE}, headers=headers)).json()
    assert view["overrides"] == []


async def test_secrets_stay_out_of_the_settings(house, visit):
    """What the file says is marked; a password is not shown."""
    text = (await (await visit("admin")).get("/settings")).text
    assert "very secret" not in text
    assert "(set; not shown)" in text
    assert "the file" in text


async def test_a_customer_learns_why_and_can_only_speak_up(house, visit):
    """The link needs no login, tells the desk once, releases nothing, and ends after its days."""
    client = await visit()
    link = f"/why/{make_link(house.ids['mine'], house.site.rules.reference_key)}"
    shown = await client.get(link, headers={"Accept-Language": "de"})
    assert "sendet anders als sein Inhaber" in shown.text
    assert (await client.post(link)).status_code == 303
    assert (await client.post(link)).status_code == 303
    claims = [one for one in await house.store.audit(target=MINE) if one.what == "claim-own"]
    assert [one.who for one in claims] == ["customer"]
    (notice,) = [one for one in await house.store.outbox(topic="notice") if one.payload["what"] == "claim"]
    assert "this was me" in sentence(notice)
    assert (await house.store.held_one(house.ids["mine"])).state == "held"
    assert (await house.store.account(MINE)).standing == "poor"
    assert (await client.get(link.replace("why/0", "why/1"))).status_code == 404
    unknown = make_link(make_id(house.now, 7), house.site.rules.reference_key)
    assert (await client.get(f"/why/{unknown}")).status_code == 404
    house.now += 15 * 86400
    assert (await client.get(link)).status_code == 404
    assert (await client.get("/why/account")).status_code == 200


async def test_held_mail_is_settled_in_bulk(house, visit):
    """Released to the next hop, once, on record, and learnt from where that is ticked."""
    client = await visit("desk")
    token = re.search(r'value="(\w+)"', (await client.get("/held")).text)[1]
    ids = [house.ids["mine"], house.ids["others"]]
    data = {"form_token": token, "verb": "release", "id": ids, "reason": "looked at", "learn": "1"}
    answer = await client.post("/held", data=data)
    assert "count=2" in answer.headers["location"]
    again = await client.post("/held", data=data)
    assert "failed=2" in again.headers["location"]
    assert {(await house.store.held_one(id)).state for id in ids} == {"released"}
    assert (await house.store.audit(target=ids[0]))[0].who == "desk"


async def test_reports_are_exported_without_formulas(house, visit):
    """CSV with days and accounts; a name that begins like a formula is quoted."""
    client = await visit("reseller")
    answer = await client.get("/reports.csv?month=2027-01")
    assert answer.headers["content-type"].startswith("text/csv")
    assert MINE in answer.text
    assert OTHERS not in answer.text


async def test_trouble_is_told_in_pages_and_json(house, visit, monkeypatch):
    """A page that is not there, a store that is away."""
    client = await visit("desk")
    assert (await client.get("/nothing")).status_code == 404

    async def away(digest):
        raise StoreUnavailable("no answer in 2 s")

    monkeypatch.setattr(house.store, "key", away)
    answer = await client.get("/")
    assert answer.status_code == 503
    assert "store" in answer.text
    answer = await client.get("/api/v1/me", headers={"Authorization": "Bearer pst_x"})
    assert (answer.status_code, set(answer.json())) == (503, {"error"})


async def test_the_first_page_goes_on_by_itself(house):
    """Server-sent events with the page's middle; a stream that is left is counted no more."""
    request = Request({"type": "http", "method": "GET", "path": "/now/events", "query_string": b"", "headers": []})
    stream = now._events(Visit(house.site, request, Viewer("desk", Role.DESK), None))
    first = await anext(stream)
    assert first.startswith("event: now\ndata: ")
    assert first.endswith("\n\n")
    assert 'class="tiles"' in first
    assert now._streams == 1
    await stream.aclose()
    assert now._streams == 0


SAYS = re.compile(r"""\bt\(\s*"((?:[^"\\]|\\.)*)"\s*[,)]""")
NAMED = re.compile(r'"(?:PS-[A-Z]+|/[a-z]*|[a-z]+(?:-[a-z]+)?)"(?:: |, )"(?!PS-)([A-Z][^"]+)"')


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.glob("*.html")))
def test_german_knows_every_sentence_of_the_pages(name):
    """And fills in what English fills in."""
    german, text = catalogue("de"), (TEMPLATES / name).read_text()
    said = {*SAYS.findall(text), *NAMED.findall(text)} - {"did ", "would ", "by ", "per ", "; "}
    assert not {one for one in said if one not in german}
    fields = re.compile(r"{\w+}")
    assert all(sorted(fields.findall(key)) == sorted(fields.findall(value)) for key, value in german.items())


def test_the_language_is_what_the_viewer_asks_for():
    """A choice goes before the browser's wishes, and those before the configured one."""
    assert chosen("", "fr, de-AT;q=0.8, en;q=0.5", "en") == "de"
    assert chosen("en", "de", "de") == "en"
    assert chosen("", "xx;q=bogus,,;q=", "de") == "de"
