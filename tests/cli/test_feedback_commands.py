"""Reports handed in by hand, by pipe and from a mailbox, against a real store."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from penstock.building import reference_key
from penstock.cli.main import app
from penstock.config import load_settings
from penstock.judge.reference import account_tag

runner = CliRunner()


def call(*words, status=0, **more):
    found = runner.invoke(app, [str(one) for one in words], **more)
    assert found.exit_code == status, found.output
    return found.output


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A demonstration day, and one message of it that was delivered."""
    data = tmp_path_factory.mktemp("demo") / "data"
    call("demo", "--data", data, "--json")
    config = ("-c", data / "penstock.toml")
    (one,) = json.loads(call("decisions", "--action", "accept", "--limit", "1", "--json", *config))
    return one, config


def forwarded(message_id):
    return f"From: ann@far.example\nSubject: your spammer\n\nMessage-ID: <{message_id}>\nFrom: someone\n".encode()


def test_a_report_by_hand_leads_to_the_account(sent, tmp_path):
    """First without doing anything, then for good; what leads to nobody is told by the exit status."""
    one, config = sent
    (tmp_path / "report.eml").write_bytes(forwarded(one["message_id"]))
    (tmp_path / "other.eml").write_bytes(forwarded("nobody@far.example"))
    account = "{kind}:{value}".format(**one["decision"]["account"])

    dry = json.loads(call("report", tmp_path / "report.eml", "--dry-run", "--json", *config))
    done = json.loads(call("report", tmp_path / "report.eml", "--json", *config))

    assert (dry[0]["account"], dry[0]["counted"]) == (account, 0)
    assert (done[0]["account"], done[0]["decision_id"], done[0]["counted"]) == (account, one["decision"]["id"], 1)
    assert "nobody's" in call("report", tmp_path / "other.eml", *config, status=1)
    call("report", tmp_path / "missing.eml", *config, status=2)


def test_snds_data_is_shown_worst_first(tmp_path):
    """Its CSV as a table, or as JSON."""
    file = tmp_path / "snds.csv"
    days = "9/1/2026,9/2/2026,1,1,1"
    file.write_text(f"192.0.2.1,{days},GREEN,,,,0,h,s,\n192.0.2.2,{days},RED,,,,0,h,s,\n")

    assert [one["ip"] for one in json.loads(call("report", "--snds", "--json", file))] == ["192.0.2.2", "192.0.2.1"]
    assert "RED" in call("report", "--snds", file)
    (tmp_path / "mail").write_text("From: x\n")
    call("report", "--snds", tmp_path / "mail", status=2)


def test_mail_comes_by_pipe_and_mailbox(sent, tmp_path):
    """As an alias or Sieve runs it, and as a Maildir."""
    one, config = sent
    command = [sys.executable, "-m", "penstock", "feedback", "pipe", "--complaint", *map(str, config)]
    subprocess.run(command, input=forwarded(one["message_id"]) + b"by pipe", check=True, timeout=60)
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "new" / "1.host").write_bytes(b"From: a@b.example\n\nhi")

    assert "1 messages" in call("feedback", "mailbox", tmp_path, *config)
    assert (tmp_path / "cur" / "1.host:2,S").exists()


def test_a_log_is_read_by_hand(sent, tmp_path):
    """From where it was left; the second time nothing is new."""
    _, config = sent
    line = "Sep  1 08:00:01 mx1 postfix/smtp[8]: 4B1C2D3E4F: to=<a@b.example>, dsn=5.1.1, status=bounced (550 no)"
    (tmp_path / "mail.log").write_text(f"{line}\n")

    assert "1 lines" in call("feedback", "logs", tmp_path / "mail.log", *config)
    assert "0 lines" in call("feedback", "logs", tmp_path / "mail.log", *config)


def test_what_came_back_is_explained_without_being_taken_in(tmp_path):
    """A bounce, and a bare reply; neither needs a configuration."""
    bounce = (
        "Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: failure notice\n\n"
        "<ann@far.example>:\n550 5.7.1 blocked using zen.spamhaus.org\n"
    )
    (tmp_path / "bounce.eml").write_text(bounce)
    (tmp_path / "other.eml").write_text("From: a@b.example\n\nhi\n")

    found = json.loads(call("feedback", "read", "--json", tmp_path / "bounce.eml", tmp_path / "other.eml"))

    assert [one["what"] for one in found] == ["bounce", "unknown"]
    (one,) = found[0]["recipients"]
    assert one["recipient"] == "ann@far.example"
    assert (one["meaning"]["reason"], one["meaning"]["level"]) == ("ip-blocked", "block")
    assert "ip-blocked" in call("feedback", "read", tmp_path / "bounce.eml")
    call("feedback", "read", tmp_path / "missing.eml", status=2)
    told = call("feedback", "reply", "550 5.7.606 Access denied, banned sending IP [192.0.2.25]")
    assert "ip-blocked" in told and "microsoft" in told and "192.0.2.25" in told
    assert json.loads(call("feedback", "reply", "552 mailbox full", "--json"))["reason"] == "mailbox-full"


def test_postmaster_data_names_the_account_of_a_feedback_id(sent, tmp_path):
    """The worst first; what is no such data is refused."""
    one, config = sent
    account = "{kind}:{value}".format(**one["decision"]["account"])
    tag = account_tag(account, reference_key(load_settings(config[1])))
    file = tmp_path / "loops.csv"
    file.write_text(f"Date,Identifier,Spam rate\n2026-09-01,stranger,0.01%\n2026-09-01,{tag},0.45%\n")

    rows = json.loads(call("report", "--postmaster", "--json", file, *config))

    assert [(each["account"], each["row"]["identifier"]) for each in rows] == [(account, tag), ("", "stranger")]
    assert "0.45%" in call("report", "--postmaster", file, *config)
    file.write_text("From: x\n")
    assert "names no spam rate" in call("report", "--postmaster", file, *config, status=2)
