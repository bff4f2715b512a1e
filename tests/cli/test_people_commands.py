"""People and tokens of the console from the command line: made once, shown without secrets, ended at once."""

import asyncio
import json

import pytest
from test_commands import call

from penstock.cli.run import sandbox_file
from penstock.config import parse_settings
from penstock.people import Person, Role
from penstock.service import Service
from penstock.watch import Watch

LONG = "correct horse battery\n"


@pytest.fixture
def config(tmp_path):
    return ("-c", sandbox_file(tmp_path / "data"))


def viewer(config, secret, kind="token"):
    """Whom a secret stands for."""

    async def ask():
        service = Service(parse_settings(config[1].read_text()), watch=Watch(None), does_upkeep=False)
        await service.store.open()
        try:
            return await service.site().entrance.viewer(secret, kind)
        finally:
            await service.store.close()

    return asyncio.run(ask())


def test_people_are_added_listed_and_removed(config):
    """A name once; a short password is none; secrets are not shown; codes of an app where that is wished."""
    assert "otpauth://totp/" in call("people", "add", "Ann", "--role", "admin", "--totp", *config, input=LONG)
    call("people", "add", "ann", *config, input=LONG, status=2)
    call("people", "add", "short", *config, input="too short\n", status=1)
    call("people", "add", "two words", *config, input=LONG, status=2)
    assert "password: " in call("people", "add", "bob", "--tenant", "example.com", "--generate", *config)
    rows = json.loads(call("people", "list", "--json", *config))
    assert [(one["name"], one["role"], one["tenant"], one["totp"]) for one in rows] == [
        ("ann", "admin", "", True), ("bob", "desk", "example.com", False),
    ]  # fmt: skip
    assert "argon2" not in call("people", "list", "--json", *config)
    call("people", "password", "ann", "--no-totp", *config, input=LONG)
    assert not json.loads(call("people", "list", "--json", *config))[0]["totp"]
    call("people", "remove", "bob", *config)
    call("people", "remove", "bob", *config, status=2)


def test_tokens_open_what_they_say_until_they_end(config):
    """Shown once, kept as a digest, never more than their person may, gone at once."""
    call("people", "add", "bob", "--tenant", "example.com", *config, input=LONG)
    secret = call("tokens", "add", "bob", "--label", "graphs", *config).split()[0]
    found = viewer(config, secret)
    assert (found.name, found.role, found.tenant) == ("bob", Role.READ, "example.com")
    assert viewer(config, secret, "session") is None
    call("tokens", "add", "bob", "--label", "x", "--scope", "admin", *config, status=1)
    (row,) = json.loads(call("tokens", "list", "--json", *config))
    assert secret not in json.dumps(row)
    call("tokens", "remove", row["digest"][:12], *config)
    call("tokens", "remove", row["digest"][:12], *config, status=2)
    assert viewer(config, secret) is None


def test_a_person_may_no_more_than_the_role():
    """Each role covers those below it."""
    assert [Role.DESK.covers(one) for one in Role] == [True, True, False]
    assert Person("a", Role.READ, "").tenant == ""
