"""penstock pools and cases: what is shown, what a person says, and the files for Postfix and Exim."""

import asyncio
import json
import shutil
import time

import pytest
from test_commands import call

from penstock.cli.mta_files import BEGIN, files, transports, with_block
from penstock.config import parse_settings
from penstock.model import Account, Action, Decision, DecisionRow, Kind, Standing
from penstock.sending import Case, Suspect
from penstock.store.ports import PoolRecords, Records
from penstock.store.sqlite import SqliteStore

SETTINGS = """
[judge]
mode = "enforce"
[milter]
listen = ["127.0.0.1:9901"]
[pools.named.normal]
ips = [
  { ip = "192.0.2.1", ip6 = "2001:db8::1", helo = "out1.example.net" },
  { ip = "192.0.2.2", warming_since = 2026-01-01 },
]
fallback = "poor"
[pools.named.poor]
ips = [{ ip = "192.0.2.66" }, { ip = "2001:db8::66", helo = "out66.example.net" }]
[pools.named.later]
[store]
path = "PLACE/penstock.sqlite"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "penstock.toml"
    path.write_text(SETTINGS.replace("PLACE", str(tmp_path)))
    return ("-c", path)


def shown(config):
    return {row["ip"]: row for row in json.loads(call("pools", "show", "--json", *config))["pools"]}


def test_ips_are_drained_and_brought_back_by_a_person(config):
    """With who and why on record; never the last one unless that is said; a dry run does nothing."""
    assert "would be" in call("pools", "drain", "192.0.2.1", "--dry-run", *config)
    assert shown(config)["192.0.2.1"]["state"] == "active"
    call("pools", "drain", "2001:db8::1", "-r", "complaints", *config)
    assert (shown(config)["192.0.2.1"]["state"], shown(config)["192.0.2.1"]["reason"]) == ("drained", "complaints")
    call("pools", "drain", "192.0.2.2", *config, status=1)
    call("pools", "drain", "192.0.2.2", "--last", *config)
    call("pools", "undrain", "192.0.2.1", *config)
    call("pools", "drain", "192.0.2.99", *config, status=2)

    history = json.loads(call("pools", "history", "--json", *config))
    assert [(one["what"], one["target"]) for one in history] == [
        ("undrain-ip", "192.0.2.1"), ("drain-ip", "192.0.2.2"), ("drain-ip", "192.0.2.1"),
    ]  # fmt: skip
    assert "complaints" in call("pools", "history", "192.0.2.1", *config)
    assert "192.0.2.66" in call("pools", "show", *config)


def test_accounts_are_pinned_and_moved(config):
    """For good or for some days, to pools and IPs that exist."""
    call("pools", "pin", "joe@example.com", "poor", "--ip", "192.0.2.66", "-r", "phone", *config)
    call("pools", "move", "sasl:ann@example.com", "poor", "--days", 2, *config)
    call("pools", "pin", "joe@example.com", "nowhere", *config, status=2)
    call("pools", "pin", "joe@example.com", "poor", "--ip", "192.0.2.1", *config, status=2)
    pins = json.loads(call("pools", "show", "--json", *config))["pins"]
    assert [(one["account"], one["ip"], one["until"] > 0) for one in pins] == [
        ("sasl:ann@example.com", "", True), ("sasl:joe@example.com", "192.0.2.66", False),
    ]  # fmt: skip
    call("pools", "pin", "joe@example.com", "--off", *config)
    assert len(json.loads(call("pools", "show", "--json", *config))["pins"]) == 1


def test_a_plan_reads_mail_instead(config, tmp_path):
    """A folder of messages; what is none is an error with its name."""
    folder = tmp_path / "mail"
    folder.mkdir()
    for number in range(3):
        head = f"From: c{number}@example.com\r\nTo: a@x.example\r\nDate: Tue, 24 Nov 2026 09:00:0{number} +0000\r\n"
        (folder / f"{number}.eml").write_text(head + "\r\nhello\r\n")
    found = json.loads(call("pools", "plan", folder, "--json", *config))

    assert {one["after"] for one in found["moves"]} <= {"poor-192-0-2-66", "poor-2001-db8--66"}
    assert len(found["moves"]) == 3
    call("pools", "plan", tmp_path / "nowhere", *config, status=2)


async def open_case(path):
    store = SqliteStore(path)
    await store.open()
    suspect = Suspect("sasl:thief@example.com", 0.91, 20, 60, ("statistic up to 9.0 nats",), ("01abc", "expired"))
    facts = (Account("sasl", "thief@example.com"), Action.ACCEPT, Action.ACCEPT, Standing.NORMAL, Kind.NORMAL, 9.0)
    to = tuple(f"s{number}@x.example" for number in range(3))
    row = DecisionRow(Decision("01abc", 1_800_000_000.0, *facts), "t@x", to, "", "", "", "", "You have won", 10)
    await store.update((), lambda: Records(decisions=(row,)))
    case = Case("c1", "192.0.2.1", "normal", time.time(), time.time() - 86400, ("spamhaus-zen",), (suspect,))
    await store.record_pools(PoolRecords(cases=(case,)))
    await store.close()


async def test_cases_are_listed_shown_and_closed(config, tmp_path):
    """By id or by IP; the account that is most to blame, its messages, and who closed it."""
    await open_case(tmp_path / "penstock.sqlite")

    def work():
        assert "c1" in call("cases", "list", *config)
        text = call("cases", "show", "192.0.2.1", *config)
        assert (
            all(word in text for word in ("explain 01abc", "2027-01-15 08:00:00, 3 recipients: You have won"))
            and "expired" not in text
        )
        (message,) = json.loads(call("cases", "show", "c1", "--json", *config))["messages"]
        assert (message["recipients"], message["subject"]) == (3, "You have won")
        assert "would be" in call("cases", "close", "c1", "--dry-run", *config)
        call("cases", "close", "c1", "-r", "found and closed", *config)
        call("cases", "close", "c1", *config, status=1)
        call("cases", "show", "nothing", *config, status=1)
        assert json.loads(call("cases", "list", "--json", *config)) == []
        (case,) = json.loads(call("cases", "list", "--all", "--json", *config))
        assert case["reason"] == "found and closed"
        assert json.loads(call("cases", "show", "c1", "--json", *config))["history"][0]["what"] == "close-case"

    await asyncio.to_thread(work)


def test_postfix_gets_one_transport_an_ip(config, tmp_path):
    """Source addresses, names, headers stripped; a pool without IPs is a transport by its name."""
    settings = parse_settings(SETTINGS)
    ways = {one.name: one.options for one in transports(settings, tmp_path)}

    assert list(ways) == ["normal-192-0-2-1", "normal-192-0-2-2", "poor-192-0-2-66", "poor-2001-db8--66", "later"]
    assert ways["normal-192-0-2-1"]["smtp_bind_address6"] == "2001:db8::1"
    assert ways["normal-192-0-2-1"]["smtp_helo_name"] == "out1.example.net"
    assert ways["normal-192-0-2-2"]["inet_protocols"] == "ipv4"
    assert ways["poor-2001-db8--66"]["inet_protocols"] == "ipv6"
    assert "smtp_bind_address" not in ways["poor-2001-db8--66"]
    pools = files(settings, tmp_path)["penstock_pools"].splitlines()
    assert "/^X-Penstock-Pool: *normal-192-0-2-1$/  FILTER normal-192-0-2-1:" in pools


def test_writing_again_changes_nothing(config, tmp_path):
    """Files and the block in master.cf are made once; what else is in master.cf stays."""
    master = tmp_path / "master.cf"
    master.write_text("smtp inet n - y - - smtpd\n")
    line = ("pools", "postfix", "--out", tmp_path / "postfix", "--master", master, "--json", *config)
    assert json.loads(call(*line[:-2], "--dry-run", *config))["changed"]
    assert not (tmp_path / "postfix").exists()
    first, second = json.loads(call(*line)), json.loads(call(*line))

    assert len(first["changed"]) == 5
    assert second["changed"] == []
    assert master.read_text().startswith("smtp inet n - y - - smtpd\n" + BEGIN)
    assert with_block(master.read_text(), "x\n").count(BEGIN) == 1
    exim = ("pools", "exim", "--out", tmp_path / "exim", "--json", *config)
    assert json.loads(call(*exim))["changed"] == ["penstock_interfaces", "penstock_helos", "penstock_transport"]
    assert json.loads(call(*exim))["changed"] == []


def test_the_check_compares_with_a_real_postfix(config, tmp_path):
    """postconf reads the files that were made: no fault; a transport with another address is one."""
    assert shutil.which("postconf"), "tests/install-neighbours installs Postfix"
    here = tmp_path / "running"
    here.mkdir()
    master = here / "master.cf"
    call("pools", "postfix", "--out", tmp_path / "postfix", "--master", master, *config)
    check = ("pools", "postfix", "--check", "--out", tmp_path / "postfix", "--directory", here, "--json", *config)
    (here / "main.cf").write_text("compatibility_level = 3.6\n")
    assert len(json.loads(call(*check, status=1))["faults"]) == 3
    (here / "main.cf").write_text(
        "compatibility_level = 3.6\n" + (tmp_path / "postfix" / "penstock_main.cf").read_text()
    )
    assert json.loads(call(*check))["faults"] == []
    master.write_text(master.read_text().replace("=192.0.2.66", "=192.0.2.67"))
    (fault,) = json.loads(call(*check, status=1))["faults"]
    assert "poor-192-0-2-66 has smtp_bind_address=192.0.2.67; wanted is 192.0.2.66" in fault
