"""A panel's JSON about a login, read and answered."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.attempts import Permission
from penstock.model import Evidence
from penstock.protocols.login_json import MOST_BYTES, BadLogin, answer, read_login

NOW = 1_800_000_000.0


def test_without_ok_it_is_a_question():
    """With it, the login is counted as good or wrong."""
    question, is_question = read_login(b'{"login": "joe", "ip": "192.0.2.7"}', NOW)
    good, _ = read_login(b'{"login": "joe", "ip": "192.0.2.7", "ok": true, "service": "IMAPS"}', NOW)
    wrong, was_question = read_login(b'{"login": "joe", "ip": "192.0.2.7", "ok": false}', NOW)

    assert is_question and (question.service, question.is_good) == ("web", True)
    assert (good.service, good.is_good, good.is_wrong_password) == ("imap", True, False)
    assert not was_question and (wrong.is_good, wrong.is_wrong_password) == (False, True)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"[]", b'{"login": "joe"}', b'{"login": " ", "ip": ""}', b'{"login": "joe", "ip": 7}', b"x" * MOST_BYTES * 2,
     b'{"login": "joe", "ip": "192.0.2.7", "okay": true}', b"\xff"],
)  # fmt: skip
def test_what_is_no_login_says_what_is_wrong(garbage):
    """A misspelt field is a fault, or nobody would notice."""
    with pytest.raises(BadLogin):
        read_login(garbage, NOW)


@given(st.binary(max_size=200))
def test_garbage_never_crashes(garbage):
    """Whatever comes."""
    try:
        read_login(garbage, NOW)
    except BadLogin:
        return


def test_an_answer_has_its_reasons():
    """For the operator; the customer's text names no account."""
    permission = Permission(
        True, True, "PS-LOGIN", "sasl:joe", (Evidence("new-source", 4.0, "198.18.1.0/24"),), 8.0, 7.8
    )
    found = json.loads(answer(permission))

    assert (found["allow"], found["reason"], found["evidence"][0]["nats"]) == (False, "PS-LOGIN", 4.0)
    assert "joe" not in found["text"]
