"""What an operator sees of shutting: what would be done, what waits, and what is not shut yet."""

import json

import pytest
from tests.cli.test_commands import call


@pytest.fixture
def config(tmp_path):
    def written(mode="enforce"):
        path = tmp_path / "penstock.toml"
        path.write_text(
            f'own_addresses = ["abuse@shop.example"]\n[judge]\nmode = "{mode}"\n[store]\npath = "{tmp_path}/p.sqlite"\n'
            '[enforcement.command.panel]\nrun = ["/bin/shut", "{verb}", "{name}"]\nrungs = ["mailbox"]\n'
        )
        return ("-c", path)

    return written


def test_what_would_be_shut_is_shown_and_what_waits_is_listed(config):
    """A plan before anything happens; nothing is shut while observing; afterwards `sync` makes up for it."""
    observing = config("observe")
    assert "run '/bin/shut' 'shut' 'joe@shop.example'" in call("enforcement", "plan", "joe@shop.example", *observing)
    assert "no driver" in call("enforcement", "plan", "user:1017", *observing)
    call("accounts", "suspend", "joe@shop.example", *observing)
    call("enforcement", "sync", *observing, status=2)
    enforcing = config()
    assert "shop.example" in call("enforcement", "sync", "--dry-run", *enforcing)
    assert "nothing waits" in call("enforcement", "waiting", *enforcing)
    assert json.loads(call("enforcement", "sync", "--json", *enforcing))[0]["account"] == "sasl:joe@shop.example"
    (step,) = json.loads(call("enforcement", "waiting", "--json", *enforcing))
    assert (step["driver"], step["verb"], step["thing"]) == ("panel", "shut", ["mailbox", "joe@shop.example"])
    way = json.loads(call("enforcement", "way-back", "joe@shop.example", "--json", *enforcing))
    assert (way["missing"], way["opens_at"]) == (["password-changed"], 0.0)
    call("enforcement", "way-back", "ann@shop.example", *enforcing, status=1)
    assert "as it should be" in call("enforcement", "sync", *enforcing)
    assert "suspended" in call("accounts", "password-changed", "joe@shop.example", "--dry-run", *enforcing)
    assert "normal" in call("accounts", "password-changed", "joe@shop.example", *enforcing)
    assert "normal" in call("accounts", "confirm", "joe@shop.example", "forwards-reviewed", *enforcing)


def test_own_addresses_are_never_shut_out(config):
    """Not by a person either."""
    assert "never shut out" in call("accounts", "suspend", "abuse@shop.example", *config(), status=1)
