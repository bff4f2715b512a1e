"""penstock delist: the case to hand in."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from penstock.cli.main import app
from penstock.model import Account, Action, Audit, Decision, DecisionRow, Kind, Standing, make_id
from penstock.sending import Case, Listing, ListingChange, Suspect
from penstock.store.ports import PoolRecords, Records
from penstock.store.sqlite import SqliteStore

T0 = 1_800_000_000.0
IP = "192.0.2.7"


def sent(number, account, action=Action.ACCEPT, ip=IP):
    at = T0 - 3600 + number
    one = Decision(
        make_id(at, number), at, Account("sasl", account), action, action, Standing.NORMAL, Kind.NORMAL, 0.0,
        pool="normal", ip=ip,
    )  # fmt: skip
    return DecisionRow(one, account, ("a@example.net",), "192.0.2.1", "smtp", f"Q{number}", f"<{number}@x>", "Hello", 9)


async def fill(path):
    store = SqliteStore(path)
    await store.open()
    rows = [sent(n, "joe@example.com", Action.HOLD if n > 3 else Action.ACCEPT) for n in range(8)]
    rows += [sent(20, "ann@example.com"), sent(30, "other@example.com", ip="192.0.2.8")]
    rows += [sent(40, "eve@example.org", ip="")]
    acts = (Audit(T0 + 60, "penstock", "suspend-account", "sasl:joe@example.com", "PS-ACCOUNT"),)
    await store.update((), lambda: Records(decisions=tuple(rows), audit=acts))
    zen = Listing(IP, "spamhaus-zen", T0, T0 + 600, codes=("127.0.0.4",), meanings=("XBL: infected",), text="see XBL")
    gone = Listing(IP, "psbl", T0 - 99, T0 - 99)
    await store.record_listings([ListingChange(T0, "listed", zen), ListingChange(T0 - 99, "listed", gone)])
    await store.record_listings([ListingChange(T0 - 50, "cleared", gone)])
    for target in ("192.0.2.99", "example.org"):
        await store.record_listings([ListingChange(T0, "listed", Listing(target, "psbl", T0, T0))])
    suspect = Suspect("sasl:joe@example.com", 0.9, 8, 8)
    case = Case("c1", IP, "normal", T0 + 1, T0 - 7200, ("spamhaus-zen",), (suspect,))
    await store.record_pools(PoolRecords(cases=(case,)))
    await store.close()


@pytest.fixture
def mode():
    return "enforce"


@pytest.fixture
def delist(tmp_path, mode):
    asyncio.run(fill(tmp_path / "p.sqlite"))
    config = tmp_path / "penstock.toml"
    config.write_text(f'[judge]\nmode = "{mode}"\n[store]\npath = "{tmp_path}/p.sqlite"\n')
    return lambda *words: CliRunner().invoke(app, ["delist", *words, "--config", str(config)], catch_exceptions=False)


def test_the_case_names_lists_accounts_and_what_was_done(delist):
    """Since when, where to get off, who sent from it, the one to blame first, what was done about it."""
    case = json.loads(delist(IP, "--json").stdout)

    (where,) = case["listings"]
    assert (where["list"], where["since"], where["delist"]) == ("spamhaus-zen", T0, "https://check.spamhaus.org/")
    joe, ann = case["accounts"]
    assert (joe["account"], joe["messages"], joe["refused"], joe["blame"]) == ("sasl:joe@example.com", 8, 4, 0.9)
    assert [one["what"] for one in joe["done"]] == ["suspend-account"]
    assert (ann["account"], ann["messages"]) == ("sasl:ann@example.com", 1)


def test_the_draft_tells_the_list_and_no_stranger_a_customers_name(delist):
    """Cause, deeds and a standing order, without any account in it."""
    draft = json.loads(delist(IP, "--json").stdout)["draft"]

    assert IP in draft and "Spamhaus ZEN" in draft and "an account was suspended" in draft
    assert "takes hijacked ones out of service" in draft
    assert "joe" not in draft and "ann@" not in draft


def test_the_table_is_for_people(delist):
    """With the list's own page."""
    text = delist(IP).stdout

    for word in ("spamhaus-zen", "https://check.spamhaus.org/", "sasl:joe@example.com", "suspend-account", "Hello,"):
        assert word in text


@pytest.mark.parametrize("mode", ["observe"])
def test_while_observing_those_are_named_whose_mail_named_no_ip(delist):
    """Nobody knows by which IP it left, so that each of them may have caused it; the report says so."""
    case = json.loads(delist("192.0.2.99", "--json").stdout)

    assert [(one["account"], one["messages"]) for one in case["accounts"]] == [("sasl:eve@example.org", 1)]
    assert not case["is_known"]
    assert "may have sent" in delist("192.0.2.99").stdout


def test_a_domains_case_is_of_those_who_sent_from_it(delist):
    """By the envelope sender, subdomains among them."""
    case = json.loads(delist("example.org", "--json").stdout)

    assert [(one["account"], one["messages"]) for one in case["accounts"]] == [("sasl:eve@example.org", 1)]


def test_what_is_not_listed_has_no_case(delist):
    """It says how to ask the lists now."""
    result = delist("192.0.2.98")

    assert result.exit_code == 1
    assert delist("not an ip").exit_code == 2
