"""Dovecot's auth policy JSON, read and answered."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.auth_policy import MOST_BYTES, BadPolicyRequest, answer, read_question, read_report

# As Dovecot 2.3.19 sends them.
QUESTION = {
    "device_id": "", "login": "joe@example.com", "protocol": "imap", "pwhash": "04a1", "remote": "192.0.2.7",
    "session_id": "TjS1FhhKorB/AAAB", "tls": False,
}  # fmt: skip
NOW = 1_800_000_000.0


def body(**fields):
    return json.dumps(QUESTION | fields).encode()


def test_a_question_names_who_from_where_and_for_what():
    """Everything but the password, of which a few bits of a hash tell it from others."""
    found = read_question(body(protocol="submission"), NOW)

    assert (found.at, found.login, found.ip, found.service) == (NOW, "joe@example.com", "192.0.2.7", "smtp")
    assert (found.password, found.session) == ("04a1", "TjS1FhhKorB/AAAB")


def test_an_old_dovecot_sends_less():
    """Only the name is needed."""
    found = read_question(b'{"login":"joe","remote":"192.0.2.7","protocol":"pop3","pwhash":"1","tls":true}', NOW)

    assert (found.login, found.service, found.session) == ("joe", "pop3", "")


@pytest.mark.parametrize(
    ("fields", "is_good", "is_wrong", "is_ours"),
    [
        ({"success": True, "policy_reject": False, "fail_type": ""}, True, False, False),
        ({"success": "true"}, True, False, False),
        ({"success": "false"}, False, True, False),
        ({"success": False, "policy_reject": False}, False, True, False),
        ({"success": False, "fail_type": "credentials"}, False, True, False),
        ({"success": False, "fail_type": "account"}, False, True, False),
        ({"success": False, "fail_type": "internal"}, False, False, False),
        ({"success": False, "fail_type": "disabled"}, False, False, False),
        ({"success": False, "policy_reject": True}, False, False, True),
        ({"success": False, "policy_reject": True, "fail_type": "policy"}, False, False, True),
    ],
)
def test_a_report_tells_a_wrong_password_from_everything_else(fields, is_good, is_wrong, is_ours):
    """A fault, a lock and our own refusal say nothing about who tries."""
    found = read_report(body(**fields), NOW)

    assert (found.attempt.is_good, found.attempt.is_wrong_password, found.is_refused_by_policy) == (
        is_good, is_wrong, is_ours,
    )  # fmt: skip


def test_an_answer_is_what_weakforced_says():
    """Below nought refuses, with the message as reason."""
    assert json.loads(answer(-1, "not from there")) == {"status": -1, "msg": "not from there", "r_attrs": {}}


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'"joe"', b"{}", b'{"login":{}}', b'{"login":" "}', b"\xff\xfe"])
def test_what_is_no_question_says_so(garbage):
    """The error is ours to show, and nothing else is raised."""
    with pytest.raises(BadPolicyRequest):
        read_question(garbage, NOW)


def test_a_body_without_end_is_not_read():
    """A login fits into a few hundred bytes."""
    with pytest.raises(BadPolicyRequest, match="more than"):
        read_report(b'{"login":"' + b"x" * MOST_BYTES + b'"}', NOW)


plain = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
values = plain | st.lists(plain, max_size=2) | st.just("x" * 2000) | st.just("a\x00\nb")
names = st.sampled_from([*QUESTION, "success", "policy_reject", "fail_type"])


@given(st.dictionaries(names, values) | st.binary(max_size=300))
def test_garbage_is_a_bad_request_or_a_bounded_attempt(given):
    """Whatever comes, fields are printable lines of bounded length."""
    raw = given if isinstance(given, bytes) else json.dumps(given).encode()
    try:
        found = read_report(raw, NOW).attempt
    except BadPolicyRequest:
        return
    for text in (found.login, found.ip, found.service, found.client, found.password, found.session):
        assert len(text) <= 255 and (text.isprintable() or not text)


def test_deeply_nested_garbage_ends():
    """Depth is bounded by the reader, and costs no crash."""
    with pytest.raises(BadPolicyRequest):
        read_question(b'{"login":' * 8000, NOW)
