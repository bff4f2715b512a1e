"""The commands over a real sandbox: what an operator types, sees, and gets as JSON."""

import json
import mailbox
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.cli.main import app

runner = CliRunner()


def call(*words, status=0, **more):
    found = runner.invoke(app, [str(one) for one in words], **more)
    assert found.exit_code == status, found.output
    return found.output


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A provider's demonstration day, once for all of these tests."""
    data = tmp_path_factory.mktemp("demo") / "data"
    found = json.loads(call("demo", "--data", data, "--json"))
    return data, found, ("-c", data / "penstock.toml")


def test_the_demonstration_catches_the_thief_and_nobody_else(day):
    """One of forty accounts is hijacked; at most three of its thief's messages leave, all of the others' do."""
    _, found, _ = day

    assert found["accounts"] == 40
    assert found["leaked_messages"] <= 3
    assert found["outcomes"]["owners"]["delivered"] >= 150
    assert found["outcomes"]["owners"].get("held", 0) <= 1


def test_accounts_are_listed_shown_and_steered(day):
    """Suspended first; a release is on record with who and why."""
    _, found, config = day
    name = found["hijacked"]
    rows = json.loads(call("accounts", "list", "--standing", "suspended", "--json", *config))
    assert [row["account"] for row in rows] == [name]
    assert "suspended" in call("accounts", "show", name, *config)
    assert "would be" in call("accounts", "release", name, "--dry-run", *config)
    assert "normal" in call("accounts", "release", name, "--reason", "new password", *config)
    call("accounts", "limit", name, "messages", "hour", 7, "--until", "2027-01-01", *config)
    shown = json.loads(call("accounts", "show", name, "--json", *config))
    assert shown["baseline"]["learnt"] > 0
    assert len(shown["sources"]) > 1
    assert {"release-account", "set-limit", "suspend-account"} <= {one["what"] for one in shown["audit"]}
    assert "trusted" in call("accounts", "trust", name, *config)
    assert "suspended" in call("accounts", "suspend", name, *config)
    call("accounts", "show", "sasl:nobody@example.com", *config, status=1)
    call("accounts", "list", "--order", "wrong", *config, status=2)


def test_decisions_are_found_and_explained(day):
    """By action and account; the explanation is a sum of named terms; tokens lead back."""
    data, found, config = day
    rows = json.loads(call("decisions", "--action", "hold", "--json", "--account", found["hijacked"], *config))
    id = rows[0]["decision"]["id"]
    words = call("explain", id, *config)
    assert "together" in words
    assert "content" in words or "carried" in words
    assert json.loads(call("explain", id, "--json", *config))["row"]["decision"]["id"] == id
    delivered = next((data / "sink" / "new").iterdir()).read_text()
    token = delivered.partition("X-Penstock-Ref: ")[2].split("\n")[0].strip()
    assert "sasl:" in call("trace", token, *config)
    call("trace", "forged-token", *config, status=1)
    call("explain", "nothing", *config, status=1)


def test_held_mail_is_listed_shown_released_and_dropped(day):
    """Released mail lies in the sink; dropped mail is gone; both are told."""
    data, found, config = day
    rows = json.loads(call("held", "list", "--json", *config))
    first, second = rows[0]["id"], rows[1]["id"]
    before = len(list((data / "sink" / "new").iterdir()))
    assert "Subject:" in call("held", "show", first, *config)
    assert "would be released" in call("held", "release", first, "--dry-run", *config)
    assert "done" in call("held", "release", first, *config)
    assert "done" in call("held", "drop", second, "--reason", "spam", *config)
    assert "would" in call("held", "settle", found["hijacked"], "--dry-run", *config)
    call("held", "settle", found["hijacked"], "--json", *config, status=2)
    settled = json.loads(call("held", "settle", found["hijacked"], "--json", "--yes", *config))
    assert all(one["is_done"] or "stays" in one["detail"] for one in settled)
    call("held", "release", first, *config, status=1)
    assert len(list((data / "sink" / "new").iterdir())) == before + 1
    assert json.loads(call("held", "show", second, "--json", *config))["state"] == "dropped"
    call("held", "release", *config, status=2)


def test_doctor_tells_what_is_wrong(day):
    """The listeners are down, everything else is good."""
    _, _, config = day
    rows = json.loads(call("doctor", "--json", *config, status=1))
    states = {row["name"]: row["state"] for row in rows}
    assert states["listener smtp"] == "bad"
    assert states["store"] == states["next hop"] == states["open relay"] == states["clock"] == "good"


def test_doctor_finds_an_open_relay(tmp_path):
    """A trusted network that is the whole Internet is bad."""
    path = tmp_path / "p.toml"
    path.write_text(
        f'[smtp]\nlisten = ["127.0.0.1:1"]\ntrusted_networks = ["0.0.0.0/0"]\n'
        f'[next_hop]\naddress = "maildir:{tmp_path}/sink"\n[store]\npath = "{tmp_path}/p.sqlite"\n'
    )
    rows = json.loads(call("doctor", "--json", "-c", path, status=1))
    assert {row["name"]: row["state"] for row in rows}["open relay"] == "bad"


def test_faults_of_a_configuration_are_told_together(tmp_path):
    """Every fault, with the file, its place and what is wanted."""
    path = tmp_path / "p.toml"
    path.write_text('[smtp]\nlisten = ["2525"]\nmax_recipients = 0\n')
    words = call("config", "check", path, status=2)
    assert words.count(str(path)[-20:]) >= 1
    assert len(json.loads(call("config", "check", path, "--json", status=2))["faults"]) >= 2
    call("config", "check", tmp_path / "none.toml", status=2)


def test_the_explained_configuration_is_a_valid_one(tmp_path):
    """What `config explain` prints can be used as it is."""
    path = tmp_path / "p.toml"
    path.write_text(call("config", "explain"))
    assert "good" in call("config", "check", path)


def letter(number, sender="joe@example.com"):
    day, minute = 2 + number // 40, number % 60
    return (
        f"From: {sender}\nTo: friend{number % 5}@example.org\nSubject: report {number}\n"
        f"Date: Mon, {day:02} Feb 2026 10:{minute:02}:00 +0000\nMessage-ID: <{number}@example.com>\n\n"
        f"Hello, the report number {number} is attached to this letter.\n"
    )


def test_replay_tells_what_would_have_happened(tmp_path):
    """An mbox, a Maildir and a folder give the same summary; nothing is acted on."""
    box = mailbox.mbox(tmp_path / "box")
    maildir = mailbox.Maildir(tmp_path / "maildir")
    (tmp_path / "folder").mkdir()
    for number in range(20):
        box.add(letter(number))
        maildir.add(letter(number))
        (tmp_path / "folder" / f"{number}.eml").write_text(letter(number))
    box.flush()
    found = [json.loads(call("replay", tmp_path / name, "--json")) for name in ("box", "maildir", "folder")]

    assert found[0] == found[1] == found[2]
    assert (found[0][0]["account"], found[0][0]["messages"]) == ("sasl:joe@example.com", 20)
    assert found[0][0]["actions"] == {"accept": 20}
    assert "no mail found" in call("replay", tmp_path / "box", "--stopped")


def test_replay_reads_a_postfix_log(tmp_path):
    """A hijacked login shows by strangers and unknown recipients alone."""
    lines = []
    for number in range(150):
        at, id = f"Feb  3 03:{number // 60:02}:{number % 60:02}", f"AB{number:04X}12"
        lines += [
            f"{at} mx postfix/smtpd[1]: {id}: client=home[198.51.100.7], sasl_method=PLAIN, "
            "sasl_username=joe@example.com",
            f"{at} mx postfix/cleanup[1]: {id}: message-id=<{number}@x>",
            f"{at} mx postfix/qmgr[1]: {id}: from=<joe@example.com>, size=1000, nrcpt=1 (queue active)",
        ]
        status = "bounced (host x said: 550 5.1.1 unknown user)" if number % 2 else "sent (250 ok)"
        lines.append(
            f"{at} mx postfix/smtp[1]: {id}: to=<s{number}@far{number}.example>, relay=x[1.2.3.4]:25, delay=1, "
            f"delays=0/0/0/1, dsn=5.1.1, status={status}"
        )
        lines.append(f"{at} mx postfix/qmgr[1]: {id}: removed")
    (tmp_path / "mail.log").write_text("\n".join(lines) + "\n")

    (row,) = json.loads(call("replay", tmp_path / "mail.log", "--year", "2026", "--json"))

    assert row["account"] == "sasl:joe@example.com"
    assert row["messages"] == 150
    assert set(row["actions"]) - {"accept"}
    call("replay", Path(__file__), status=2)
    call("replay", tmp_path / "nothing", status=2)


def test_a_password_line_is_made_and_checked(tmp_path):
    """The line of `penstock password` is what the file of logins takes."""
    import asyncio

    from penstock.clients.login import PasswordFile

    (tmp_path / "p").write_text(call("password", "joe@example.com", input="secret\n"))
    login = PasswordFile(tmp_path / "p")

    assert asyncio.run(login.check("Joe@example.com", "secret", "")) == "joe@example.com"
    assert asyncio.run(login.check("joe@example.com", "wrong", "")) == ""
    assert asyncio.run(login.check("ann@example.com", "secret", "")) == ""
    call("password", "a:b", input="x\n", status=2)


def test_a_plan_over_the_demonstrations_day_says_who_would_move(day, tmp_path):
    """Another configuration is tried on the mail that was: each account's old and new way, and shares by transport."""
    data, found, config = day
    text = (data / "penstock.toml").read_text()
    new = tmp_path / "new.toml"
    ips = ", ".join(f'{{ ip = "192.0.2.{number}" }}' for number in range(1, 4))
    new.write_text(text.replace("[pools.named.normal]", f"[pools.named.normal]\nips = [{ips}]"))
    same = json.loads(call("pools", "plan", "--since", "30d", "--json", *config))
    other = json.loads(call("pools", "plan", "--since", "30d", "--new", new, "--json", *config))

    assert same["accounts"] == other["accounts"] >= found["accounts"]
    assert len(same["moves"]) <= 2
    assert len(other["moves"]) >= 30
    assert {one["after"] for one in other["moves"]} >= {f"normal-192-0-2-{number}" for number in range(1, 4)}
    volumes = {one["name"]: one for one in other["volumes"]}
    assert volumes["normal"]["after_recipients"] == 0
    spread = [volumes[f"normal-192-0-2-{number}"]["after_recipients"] for number in range(1, 4)]
    assert sum(spread) == volumes["normal"]["recipients"]
    assert min(spread) > 0
    text = call("pools", "plan", "--since", "30d", "--new", new, *config)
    assert f"{len(other['moves'])} of {other['accounts']} accounts would move" in text.replace("\n", " ")
    assert len(other["moves"]) <= 50 or f"and {len(other['moves']) - 50} smaller ones" in text
