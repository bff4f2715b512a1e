"""rspamd's headers and answers: what each client of the compatibility matrix sends, and what it looks at."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model import Account, Action, Decision, Evidence, Finding, Kind, Reply, Standing
from penstock.protocols import rspamd

RAW = b"Subject: x\r\nMessage-ID: <m1@example.com>\r\n\r\nhi\r\n"
KNOWN_ACTIONS = {"no action", "greylist", "add header", "rewrite subject", "soft reject", "reject"}


def decision(action=Action.ACCEPT, **more):
    given = {
        "id": "d1", "at": 1.0, "account": Account("sasl", "joe"), "action": action, "wanted": action,
        "standing": Standing.NORMAL, "kind": Kind.NORMAL, "score": 2.5,
        "evidence": (Evidence("text-odds", 1.25, "0.8", "0.2"), Evidence("new-recipients", 0.5)),
        "findings": (Finding("hidden-text", "white on white"), Finding("text-odds")),
    } | more  # fmt: skip
    return Decision(**given)


REJECT = decision(Action.REJECT, reply=Reply(550, "5.7.1", "[PS-CONTENT] no"), reason="PS-CONTENT")


def query(*headers, trusted=True):
    return rspamd.read_query(headers, peer_ip="10.0.0.1", is_trusted=trusted)


def test_what_haraka_and_the_milter_proxy_send():
    """Everything, one Rcpt header a recipient."""
    found = query(
        ("from", "<joe@example.com>"), ("rcpt", "<a@x.example>"), ("rcpt", "b@x.example"), ("ip", "192.0.2.7"),
        ("helo", "laptop"), ("hostname", "c.example"), ("user", "joe@example.com"), ("queue-id", "Q1"),
        ("tls-version", "TLSv1.3"), ("spf", "[object Object]"),
    )  # fmt: skip

    assert (found.envelope.mail_from, found.envelope.rcpt_to) == ("joe@example.com", ("a@x.example", "b@x.example"))
    connection = found.connection
    assert (connection.client_ip, connection.client_name, connection.helo) == ("192.0.2.7", "c.example", "laptop")
    assert (connection.login, connection.listener, connection.is_trusted_peer) == ("joe@example.com", "http", True)
    assert (connection.tls, connection.peer_ip, found.queue_id) == ("TLSv1.3", "10.0.0.1", "Q1")


@pytest.mark.parametrize(
    ("headers", "recipients"),
    [
        ((), ()),
        ((("rcpt", "a@x, b@x"),), ("a@x", "b@x")),
        ((("rcpt", '"a,b"@x.example,<c@x>'),), ('"a,b"@x.example', "c@x")),
        ((("deliver-to", "z@x"),), ("z@x",)),
        ((("deliver-to", "z@x"), ("rcpt", "a@x")), ("a@x",)),
        ((("rcpt", ""), ("rcpt", " , <>")), ()),
    ],
)
def test_recipients_in_every_form(headers, recipients):
    """Repeated, in a comma list, quoted, ZoneMTA's Deliver-To alone, or none at all."""
    assert query(*headers).envelope.rcpt_to == recipients


@pytest.mark.parametrize(
    ("ip", "read"),
    [("", ""), ("[192.0.2.1]", "192.0.2.1"), ("IPv6:2001:DB8::1", "2001:db8::1"), ("/run/x.sock", ""), ("1.2.3", "")],
)
def test_addresses_in_every_form(ip, read):
    """Brackets, Sendmail's prefix; what is no address is none (Postal sends an empty one)."""
    assert query(("ip", ip)).connection.client_ip == read


def test_a_stranger_is_believed_nothing():
    """Neither login nor address nor queue id: the client is the peer."""
    found = query(("user", "boss"), ("ip", "192.0.2.7"), ("queue-id", "Q"), ("from", "x@y"), trusted=False)

    assert (found.connection.login, found.connection.client_ip, found.queue_id) == ("", "10.0.0.1", "")
    assert not found.connection.is_trusted_peer
    assert found.envelope.mail_from == "x@y"


def test_messages_get_crlf_and_lose_the_mbox_line():
    """As Exim and OpenSMTPD hand them over; what is right already stays the same object."""
    assert rspamd.message_of(b"From joe Tue\nSubject: x\r\n\nhi\n") == b"Subject: x\r\n\r\nhi\r\n"
    assert rspamd.message_of(RAW) is RAW
    assert rspamd.message_of(b"From nowhere") == b"From nowhere"


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (Action.ACCEPT, "no action"),
        (Action.THROTTLE, "soft reject"),
        (Action.HOLD, "soft reject"),
        (Action.REJECT, "reject"),
    ],
)
@pytest.mark.parametrize("score", [-8.0, 2.5, 400.0, float("nan"), float("inf")])
def test_score_and_action_agree(action, name, score):
    """Clients that compare score and threshold refuse exactly what is to be refused; others read a known action."""
    reply = json.loads(rspamd.checkv2(decision(action, score=score), RAW, 0.001))

    assert reply["action"] == name
    assert reply["action"] in KNOWN_ACTIONS
    assert (reply["score"] >= reply["required_score"]) is (action is Action.REJECT)


def test_what_every_client_of_checkv2_looks_at():
    """Described symbols that add up (Postal), plain strings and small integers (OpenSMTPD), `messages` an object."""
    accepted = decision(add_headers=(("X-Penstock-Ref", "t"), ("X-Two", "1"), ("X-Two", "2")), remove_headers=("x-a",))
    reply = json.loads(rspamd.checkv2(accepted, RAW, 0.5))
    refused = json.loads(rspamd.checkv2(REJECT, b"no headers", 0.5))

    for one in (reply, refused):
        assert all(symbol["description"] and symbol["name"] == name for name, symbol in one["symbols"].items())
        assert sum(symbol["score"] for symbol in one["symbols"].values()) == pytest.approx(one["score"])
    assert reply["symbols"]["PS_TEXT_ODDS"]["description"] == "seen 0.8, expected 0.2"
    assert reply["symbols"]["PS_HIDDEN_TEXT"]["score"] == 0
    assert reply["milter"]["add_headers"] == {"X-Penstock-Ref": "t", "X-Two": ["1", "2"]}
    assert reply["milter"]["remove_headers"] == {"x-a": 0}
    assert (reply["messages"], reply["message-id"], reply["is_skipped"]) == ({}, "m1@example.com", False)
    assert refused["messages"] == {"smtp_message": "[PS-CONTENT] no"}
    assert refused["message-id"] == "undef"
    assert "milter" not in refused


def test_what_zonemta_looks_at():
    """Everything of the metric under `default`, each symbol a sibling."""
    reply = json.loads(rspamd.legacy(REJECT, RAW, 0.1))
    default = reply["default"]

    assert (default["action"], default["is_spam"], default["required_score"]) == ("reject", True, 15.0)
    assert default["PS_TEXT_ODDS"]["name"] == "PS_TEXT_ODDS"
    assert reply["messages"]["smtp_message"] == "[PS-CONTENT] no"
    assert json.loads(rspamd.legacy(decision(add_headers=(("X-A", "b"),)), RAW, 0))["rmilter"]["add_headers"] == {
        "X-A": "b"
    }


def as_exim_reads(reply):
    """Exim's own sscanf (src/spam.c), as a regular expression."""
    pattern = (
        rb"RSPAMD/(?P<version>[0-9.]{1,7}) 0 EX_OK\r\nMetric: default; (?P<spam>\S+); "
        rb"(?P<score>-?[\d.]+) / (?P<threshold>[\d.]+) / (?P<reject>[\d.]+)\r\n(?P<report>.+)"
    )
    return re.match(pattern, reply, re.DOTALL)


def test_what_exim_looks_at():
    """The first two lines byte by byte, then the action, the text and the headers to add."""
    accepted = decision(add_headers=(("X-Penstock-Pool", "risk"),), remove_headers=("x-a",))
    found, refused = as_exim_reads(rspamd.rspamc(accepted)), as_exim_reads(rspamd.rspamc(REJECT))

    assert (found["version"], found["spam"], found["score"]) == (b"1.3", b"False", b"2.50")
    assert b"Action: no action\r\n" in found["report"]
    assert b"X-Milter-Add: X-Penstock-Pool: risk\r\nX-Milter-Del: x-a\r\n" in found["report"]
    assert b"Symbol: PS_TEXT_ODDS(1.25)\r\n" in found["report"]
    assert float(refused["score"]) >= float(refused["threshold"])
    assert b"Action: reject\r\nMessage: [PS-CONTENT] no\r\n" in refused["report"]


def test_exim_never_gets_more_than_it_reads():
    """However much evidence there is; and no line is broken by what strangers wrote."""
    much = tuple(Evidence(f"term-{number}" + "x" * 900, 1.0, "a\r\nAction: no action" * 60) for number in range(900))
    reply = rspamd.rspamc(decision(Action.THROTTLE, evidence=much, reply=Reply(450, "4.7.1", "a\r\nb\N{SNOWMAN}")))

    assert len(reply) < 32_600
    assert reply.count(b"Action:") == 1
    assert b"Message: a?b?\r\n" in reply


def test_errors_are_told_in_both_protocols():
    """JSON as rspamd writes it; a line that Exim takes for a failure."""
    assert json.loads(rspamd.error("no"))["error"] == "no"
    assert rspamd.rspamc_error(77, "wrong\r\n") == b"RSPAMD/1.3 77 wrong?\r\n\r\n"


HEADERS = st.lists(
    st.tuples(st.sampled_from(["from", "rcpt", "ip", "user", "deliver-to", "helo", "queue-id", "x"]), st.text())
)


@given(HEADERS, st.booleans())
def test_any_headers_are_read(headers, trusted):
    """Whatever clients write, there is a query."""
    found = query(*headers, trusted=trusted)

    assert found.connection.listener == "http"
    assert all(found.envelope.rcpt_to)


@given(st.text(), st.text(), st.floats(), st.sampled_from(list(Action)))
def test_any_decision_is_answered(name, text, number, action):
    """Valid JSON and RSPAMC, whatever names, texts and numbers evidence has."""
    one = decision(
        action, score=number, evidence=(Evidence(name, number, text),), findings=(Finding(name, text),),
        reply=Reply(450, "4.7.1", text), add_headers=((name, text),),
    )  # fmt: skip

    for shape in (rspamd.checkv2, rspamd.legacy):
        assert json.loads(shape(one, RAW, 0.0))["message-id"] == "m1@example.com"
    assert as_exim_reads(rspamd.rspamc(one))


@given(st.binary(max_size=200))
def test_any_message_gets_line_ends(body):
    """No bare LF is left, and nothing but line ends changes beyond the mbox line."""
    found = rspamd.message_of(body)

    assert re.search(rb"(?<!\r)\n", found) is None
    if not body.startswith(b"From "):
        assert found.replace(b"\r\n", b"\n") == body.replace(b"\r\n", b"\n")
