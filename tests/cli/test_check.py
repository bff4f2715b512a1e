"""penstock check and penstock lists, as commands, against real lists."""

import asyncio
import csv
import io
import json

import pytest
from typer.testing import CliRunner

from neighbours.dns import LISTS, Blocklists, list_of
from penstock.cli.main import app
from penstock.overview import when
from penstock.sending import Listing, ListingChange
from penstock.store.sqlite import SqliteStore

T0 = 1_800_000_000.0


@pytest.fixture(scope="module")
def world():
    with Blocklists() as one:
        yield one


@pytest.fixture
def check(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words, extra="", command="check"):
        file = tmp_path / "lists.toml"
        file.write_text(LISTS + extra)
        more = ["--resolver", world.unbound.address] if command == "check" else []
        return CliRunner().invoke(app, [command, *words, "--lists", str(file), *more], catch_exceptions=False)

    return run


def test_everything_is_said_of_a_listing(check):
    """List, zone, code, meaning, text, severity, how to get off, usual cause; names resolve, PTR leads back."""
    result = check("mail.example.com", "--json")
    report = json.loads(result.stdout)

    row = next(one for one in report["listings"] if one["list"] == "ip4")
    assert row == {
        "target": "192.0.2.7", "list": "ip4", "zone": "ip4.lists.example", "severity": "critical",
        "codes": ["127.0.0.3"], "meanings": ["sends spam"], "text": "Listed, see https://lists.example/192.0.2.7",
        "since": 0.0, "delist": "https://lists.example/off", "causes": "spam",
    }  # fmt: skip
    assert {one["target"] for one in report["listings"]} == {"192.0.2.7", "2001:db8::25"}
    host = next(one for one in report["hosts"] if one["address"] == "192.0.2.7")
    assert host["names"] == host["confirmed"] == ["mail.example.com"]
    assert result.exit_code == report["status"] == 2


def test_domains_are_asked_at_domain_lists(check):
    """The name itself and the domain it is registered under."""
    report = json.loads(check("www.bad.example", "bad.example", "--json").stdout)

    assert [(one["target"], one["list"], one["meanings"]) for one in report["listings"]] == [
        ("bad.example", "dbl", ["phishing"])
    ]


@pytest.mark.parametrize(
    ("words", "extra", "status"),
    [
        (("192.0.2.1",), "", 0),
        (("192.0.2.8",), "", 0),  # a policy entry is no offence
        (("192.0.2.9",), "", 1),
        (("192.0.2.1",), list_of("world"), 1),
        (("192.0.2.7",), list_of("world"), 2),
        (("192.0.2.0/24",), "", 2),
        (("no-such-name.example",), "", 1),
        (("192.0.2.0/99",), "", 3),
    ],
)
def test_the_exit_status_is_nagios(check, words, extra, status):
    """0 clean, 1 low or unknown, 2 listed, 3 nothing told."""
    assert check(*words, extra=extra).exit_code == status


def test_where_nobody_can_tell_it_is_unknown(world, tmp_path):
    """All lists refuse: neither clean nor listed."""
    file = tmp_path / "lists.toml"
    file.write_text("only = true\n" + list_of("refuses") + list_of("dead"))
    words = ["check", "192.0.2.7", "--lists", str(file), "--resolver", world.unbound.address]

    assert CliRunner().invoke(app, words).exit_code == 3


def test_liars_are_named_with_the_reason(check):
    """The table says which lists could not be believed, and why."""
    extra = "".join(map(list_of, ("world", "parked", "refuses", "empty", "dead")))
    report = json.loads(check("192.0.2.1", "192.0.2.2", "--json", extra=extra).stdout)

    assert report["listings"] == []
    assert {one["list"]: (one["count"], one["why"].partition(":")[0]) for one in report["unknown"]} == {
        "world": (2, "lists-the-world"), "parked": (2, "lists-the-world"), "refuses": (2, "blocked"),
        "empty": (2, "lists-nothing"), "dead": (2, "dead"),
    }  # fmt: skip


def test_the_table_is_for_people(check):
    """Everything that helps is in it."""
    text = check("192.0.2.7").stdout

    for word in ("mail.example.com", "sends spam", "https://lists.example/off", "127.0.0.3", "get off at"):
        assert word in text


def test_csv_is_for_spreadsheets(check):
    """A head and one line a listing."""
    rows = list(csv.DictReader(io.StringIO(check("192.0.2.0/28", "--csv").stdout)))

    assert [(row["target"], row["list"]) for row in rows] == [
        ("192.0.2.7", "ip4"), ("192.0.2.9", "low"), ("192.0.2.8", "policy"),
    ]  # fmt: skip


async def keep(path):
    store = SqliteStore(path)
    await store.open()
    listing = Listing("192.0.2.7", "ip4", T0, T0, codes=("127.0.0.3",))
    await store.record_listings([ListingChange(T0, "listed", listing)])
    await store.close()


def test_since_when_comes_from_the_monitor(check, tmp_path):
    """Where there is a store, it knows."""
    asyncio.run(keep(tmp_path / "p.sqlite"))
    config = tmp_path / "penstock.toml"
    config.write_text(f'[store]\npath = "{tmp_path}/p.sqlite"\n')
    words = ("192.0.2.7", "192.0.2.9", "--config", str(config))
    report = json.loads(check(*words, "--json").stdout)
    sheet = csv.DictReader(io.StringIO(check(*words, "--csv").stdout))

    assert {one["list"]: one["since"] for one in report["listings"]} == {"ip4": T0, "low": 0.0}
    assert {row["list"]: row["since"] for row in sheet} == {"ip4": when(T0), "low": ""}
    assert "2027-01-15" in check(*words).stdout


def test_the_catalogue_can_be_read(check):
    """As a table, as JSON, and one list whole; a key is never shown."""
    assert "ip4.lists.example" in check(command="lists").stdout
    rows = json.loads(check("--json", command="lists").stdout)
    assert {row["name"] for row in rows} == {"ip4", "low", "policy", "ip6", "dbl"} and rows[0]["asked"]
    result = CliRunner().invoke(app, ["lists", "show", "spamhaus-zen"])
    assert "PBL" in result.stdout and "check.spamhaus.org" in result.stdout
    assert CliRunner().invoke(app, ["lists", "show", "nope"]).exit_code == 2


def test_a_key_is_never_shown(tmp_path, monkeypatch):
    """Neither in tables nor in JSON."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "lists.toml"
    file.write_text('[keys]\nspamhaus = "verysecretkey"\n')
    for words in (["lists", "--json"], ["lists"], ["lists", "show", "spamhaus-zen", "--json"]):
        result = CliRunner().invoke(app, [*words, "--lists", str(file)])
        assert result.exit_code == 0 and "verysecret" not in result.stdout
    assert '"has_key": true' in CliRunner().invoke(app, ["lists", "--json", "--lists", str(file)]).stdout
