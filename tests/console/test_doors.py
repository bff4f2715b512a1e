"""Who may go where: every page and every operation of the API, for strangers, roles and tenants."""

import re
import typing

import pytest
from console_house import MINE, OTHERS, PEOPLE

from penstock.console import api
from penstock.console.app import DOORS
from penstock.model import Audit
from penstock.people import Role

VERBS = {"/steer/{verb}/{account:path}": "note", "/pools/{verb}/{ip}": "undrain"}
NEEDS = {
    api.Reader: (Role.READ, False),
    api.WholeReader: (Role.READ, True),
    api.Desk: (Role.DESK, False),
    api.WholeDesk: (Role.DESK, True),
}
BODIES = {
    "/account/pin": {"account": OTHERS, "pool": "normal"},
    "/account/limit": {"account": OTHERS, "unit": "messages", "window": "day", "most": 5},
    "/learnt": {"ids": ["x"], "verdict": "abuse"},
    "/learnt/undo": {"ids": ["x"]},
    "/held/release": {"ids": ["x"]},
    "/held/drop": {"ids": ["x"]},
    "/pools/drain": {"ip": "192.0.2.1"},
    "/pools/undrain": {"ip": "192.0.2.1"},
    "/cases/{id}/close": {"reason": "x"},
}


def filled(path, house, *, whose="mine"):
    """A door's path with something of one tenant in it."""
    account = MINE if whose == "mine" else OTHERS
    id = "case1" if path.startswith("/cases") else house.ids[whose]
    values = {"verb": VERBS.get(path, ""), "account:path": account, "id": id, "ip": "192.0.2.2", "link": "account"}
    return re.sub(r"{([a-z:]+)}", lambda found: values[found[1]], path)


async def form_token(client):
    """What forms must carry."""
    return re.search(r'name="form_token" value="(\w+)"', (await client.get("/accounts")).text)[1]


async def test_strangers_are_sent_to_the_login_from_every_door(house, visit):
    """Pages and actions alike; nothing of anybody's mail is in the answer."""
    client = await visit()
    for door in (one for one in DOORS if one.role is not None):
        answer = await client.request(door.method, filled(door.path, house))
        assert answer.status_code == 303, door.path
        assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize("name", PEOPLE)
async def test_each_door_opens_to_its_role_alone(house, visit, name):
    """403 for everybody else, whatever is asked; no door answers 5xx."""
    client, person = await visit(name), PEOPLE[name]
    token = await form_token(client)
    for door in DOORS:
        if door.role is None or door.path in ("/logout", "/now/events"):
            continue
        data = {
            "form_token": token,
            "reason": "x",
            "verb": "drop",
            "account": MINE,
            "verdict": "right",
            "limit": "messages/day",
        }
        answer = await client.request(
            door.method, filled(door.path, house), data=data if door.method == "POST" else None
        )
        may = person.role.covers(door.role) and not (door.is_whole and person.tenant)
        assert (answer.status_code != 403) == may, (door.path, door.method, answer.status_code)
        assert answer.status_code < 500, (door.path, answer.text)


async def test_no_page_shows_a_reseller_another_tenants_things(house, visit):
    """By address or by search; a form about another's account or mail does nothing."""
    client = await visit("reseller")
    token = await form_token(client)
    for door in DOORS:
        if door.method == "GET" and door.role is not None and not door.is_whole and door.path != "/now/events":
            path = filled(door.path, house, whose="others")
            answer = await client.get(path, params={"tenant": "other.example", "account": OTHERS})
            assert "xyzzy" not in answer.text, path
            assert door.path != path or "eve@other" not in (await client.get(path)).text, path
            assert answer.status_code == (404 if "{" in door.path else 200), path
    for path, data in (
        (f"/steer/suspend/{OTHERS}", {}),
        ("/held", {"verb": "drop", "id": house.ids["others"]}),
        (f"/decisions/{house.ids['others']}", {"verdict": "legit"}),
        ("/enforced", {"account": OTHERS, "verdict": "right"}),
    ):
        assert (await client.post(path, data={"form_token": token, **data})).status_code == 404
    assert (await house.store.held_one(house.ids["others"])).state == "held"
    assert (await house.store.account(OTHERS)).standing == "poor"


def needs(endpoint):
    """The role that an operation of the API asks for, and whether it is closed to tenants."""
    return NEEDS[typing.get_type_hints(endpoint, include_extras=True)["call"]]


async def call(client, route, house, headers, whose="mine"):
    method, path, _, _ = route
    id = "case1" if path.startswith("/cases") else house.ids[whose]
    account = MINE if whose == "mine" else OTHERS
    body = BODIES.get(path, {"account": account, "reason": "x"})
    if "ids" in body:
        body = body | {"ids": [house.ids[whose]]}
    params = {"account": account} if path in ("/account", "/account/events") else None
    more = {"json": body} if method == "POST" else {}
    return await client.request(method, "/api/v1" + path.replace("{id}", id), params=params, headers=headers, **more)


@pytest.mark.parametrize("route", api.ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
async def test_every_operation_holds_to_scope_and_tenant(house, visit, route):
    """Without a token 401; with too narrow a scope, or one tenant's, 403; another tenant's things are not there."""
    client = await visit()
    role, is_whole = needs(route[2])
    assert (await call(client, route, house, {})).status_code == 401
    for name, person in PEOPLE.items():
        for scope in (one for one in Role if person.role.covers(one)):
            may = scope.covers(role) and not (is_whole and person.tenant)
            if may and route[0] == "POST":
                continue  # tried below, once, since it acts
            answer = await call(client, route, house, await house.token(name, scope))
            assert (answer.status_code == 403) == (not may), (name, scope, answer.text)
    if not is_whole and ("{id}" in route[1] or "account" in route[1].split("/")[1:2] or route[0] == "POST"):
        answer = await call(client, route, house, await house.token("reseller"), whose="others")
        assert answer.status_code == 404, answer.text
    answer = await call(client, route, house, await house.token("reseller" if not is_whole else "desk"))
    assert answer.status_code == 200, answer.text
    if not is_whole:
        assert "other.example" not in answer.text


async def test_a_token_is_worth_no_more_than_its_person_now(house, visit):
    """Scope and role both bound it; when the person goes, so does the token."""
    client, headers = await visit(), await house.token("desk")
    assert (await client.get("/api/v1/me", headers=headers)).json() == {"name": "desk", "role": "desk", "tenant": ""}
    await house.store.remove_person("desk", audit=Audit(1.0, "a", "b", "desk"))
    assert (await client.get("/api/v1/me", headers=headers)).status_code == 401
