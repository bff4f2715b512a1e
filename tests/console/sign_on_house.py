"""A house with single sign-on, and what its login page says."""

import html
import re
import time

from console_house import HASHED, PEOPLE, SETTINGS, House
from msgspec.structs import replace

from neighbours.glewlwyd import SECRET
from penstock.model import Audit

SITE = "http://console.example"
OIDC = """
[console.oidc]
issuer = "ISSUER"
client_id = "penstock"
client_secret_file = "PLACE/client-secret"
name = "Example <ID>"
"""
ROLES = """new_people = true
roles = [
  { value = "chiefs", role = "admin" },
  { value = "resellers", role = "desk", tenant = "example.com" },
  { value = "abuse-desk", role = "desk" },
]
"""


async def made(folder, issuer, more=ROLES, site=SITE):
    """A house with single sign-on, a desk and an admin."""
    (folder / "client-secret").write_text(SECRET + "\n")
    text = SETTINGS.replace("secure_cookies = false", f'secure_cookies = false\nbase_url = "{site}"')
    one = House(folder, text + OIDC.replace("ISSUER", issuer) + more)
    await one.service.store.open()
    one.now = time.time()
    for name in ("desk", "admin"):
        person = replace(PEOPLE[name], password=HASHED)
        await one.store.keep_person(person, Audit(1.0, "test", "add-person", name))
    return one


async def outward(client, wish=""):
    """Where a browser is sent."""
    answer = await client.get("/login/sign-on", params={"next": wish} if wish else None)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def said(answer):
    """What the login page says went wrong."""
    return html.unescape(re.search(r'role="alert">([^<]*)<', answer.text)[1])


def told(why, claim="email"):
    """How that is said."""
    return why.value.format(name="Example <ID>", claim=claim)


async def failures(house):
    """Failed logins on record."""
    return [one for one in await house.store.audit(limit=100) if one.what == "log-in-failed"]
