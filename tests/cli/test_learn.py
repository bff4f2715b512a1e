"""`penstock learn` and held mail that teaches, as an operator types them."""

import json
import mailbox

import pytest
from test_commands import call, day  # noqa: F401  # the demonstration's fixture


def letter(number):
    body = "You receive this letter because you are a member of our garden club since the summer of last year. "
    return f"From: club@example.net\r\nSubject: n{number}\r\n\r\n{body * 2}{'tulip ' * number}\r\n".encode()


@pytest.fixture
def mailboxes(tmp_path):
    """The same three letters as file, mbox and Maildir."""
    (tmp_path / "one.eml").write_bytes(letter(1))
    box = mailbox.mbox(tmp_path / "two.mbox")
    box.add(letter(1))
    box.add(letter(2))
    box.close()
    folder = mailbox.Maildir(tmp_path / "three")
    folder.add(letter(3))
    return tmp_path / "one.eml", tmp_path / "two.mbox", tmp_path / "three"


def test_mailboxes_are_learnt_listed_and_undone(day, mailboxes):  # noqa: F811
    """Each message once, tried before, and back again with an entry in the audit log."""
    config = day[2]
    assert "would be learnt" in call("learn", "legit", *mailboxes, "--dry-run", *config)
    taken = json.loads(call("learn", "legit", *mailboxes, "--reason", "club", "--json", *config))
    assert (taken["taken"], taken["known"]) == (3, 1)
    assert "0 learnt, 1 known" in call("learn", "legit", mailboxes[0], *config)
    rows = json.loads(call("learn", "list", "--account", "sender:club@example.net", "--json", *config))
    assert {row["is_abuse"] for row in rows} == {False}
    assert "legit" in call("learn", "list", *config)
    assert "3 would be undone" in call("learn", "undo", "--tenant", "example.net", "--dry-run", *config)
    assert "1 undone" in call("learn", "undo", rows[0]["id"], *config)
    assert "2 undone" in call("learn", "undo", "--account", "sender:club@example.net", "--since", "1h", *config)
    assert (
        len(json.loads(call("learn", "list", "--undone", "--account", "sender:club@example.net", "--json", *config)))
        == 3
    )
    call("learn", "undo", *config, status=2)
    call("learn", "undo", "--since", "whenever", *config, status=2)
    call("learn", "abuse", *config, status=2)
    assert "nothing is left" in call("learn", "abuse", "nowhere", *config, status=1)


def test_held_mail_teaches_when_it_is_let_go(day):  # noqa: F811
    """By id it does, by --no-learn and for a whole account it does not; the hold itself can be taught and stays."""
    config = day[2]
    held = [row["id"] for row in json.loads(call("held", "list", "--json", *config))][2:]

    def taught():
        return {(row["origin"], row["is_abuse"]) for row in json.loads(call("learn", "list", "--json", *config))}

    call("held", "drop", held[0], "--no-learn", *config)
    assert taught() == set()
    call("learn", "abuse", "--held", held[1], *config)
    assert taught() == {("held", True)}
    call("held", "release", held[1], *config)
    assert taught() == {("held", False)}
