"""How strict the server's machine is: what it refuses, and what it lets nobody slip in."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model import Connection, Reply
from penstock.protocols.smtp_data import DataReader, Room
from penstock.protocols.smtp_events import (
    AuthAsked,
    Closed,
    MailAsked,
    MessageAsked,
    RcptAsked,
    Reset,
    ServerSettings,
    TlsAsked,
)
from penstock.protocols.smtp_server import SmtpServer

OK = Reply(250, "2.0.0", "Ok")
DEFAULTS = {"max_message_bytes": 10_000, "max_recipients": 5, "max_line_bytes": 1000, "max_errors": 8}


class Talk:
    """A session whose questions are all answered with 250 unless `answers` says otherwise."""

    def __init__(self, *, may_forward=True, answers=None, room=None, tls="", **given):
        settings = ServerSettings("mx.example", **(DEFAULTS | given))
        self.server = SmtpServer(settings, Connection(tls=tls), room or Room(1 << 20), may_forward=may_forward)
        self.server.take_output()
        self.answers = answers or {}
        self.events = []

    def say(self, data):
        """Every reply line to some bytes."""
        self.server.receive(data if isinstance(data, bytes) else data.encode() + b"\r\n")
        while (event := self.server.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, MailAsked | RcptAsked | MessageAsked):
                self.server.answer(self.answers.get(type(event), OK))
            elif isinstance(event, AuthAsked):
                self.server.authenticated(event.user, event.method)
            elif isinstance(event, Closed | TlsAsked):
                break
        return self.server.take_output().decode("utf-8", "replace").splitlines()

    def code(self, data):
        return int(self.say(data)[-1][:3])


def test_ehlo_announces_what_there_is():
    """TLS and AUTH where configured, AUTH only behind TLS, XCLIENT only to trusted hosts; HELO announces nothing."""
    bare = " ".join(Talk(may_forward=False).say("EHLO me"))
    full = " ".join(Talk(has_tls=True, has_auth=True).say("EHLO me"))
    secured = " ".join(Talk(has_tls=True, has_auth=True, tls="TLSv1.3").say("EHLO me"))

    assert all(name in bare for name in ("PIPELINING", "SIZE 10000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"))
    assert not any(name in bare for name in ("STARTTLS", "AUTH", "XCLIENT", "DSN", "CHUNKING"))
    assert "STARTTLS" in full
    assert "AUTH" not in full
    assert "XFORWARD" in full
    assert "AUTH PLAIN LOGIN" in secured
    assert "STARTTLS" not in secured
    assert len(Talk().say("HELO me")) == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("MAIL FROM:<a@b.example>", 250),
        ("MAIL FROM:<>", 250),
        ("mail from: <a@b.example> body=8bitmime", 250),
        ("MAIL FROM:<a@b.example> SIZE=10000 AUTH=<>", 250),
        ("MAIL FROM:<ü@b.example> SMTPUTF8", 250),
        ("MAIL FROM:<ü@b.example>", 550),
        ("MAIL FROM:<a@b.example> SIZE=10001", 552),
        ("MAIL FROM:<a@b.example> SIZE=" + "9" * 400, 552),
        ("MAIL FROM:<a@b.example> SIZE=x", 555),
        ("MAIL FROM:<a@b.example> BODY=BINARYMIME", 555),
        ("MAIL FROM:<a@b.example> RET=FULL", 555),
        ("MAIL FROM:a@b.example", 501),
        ("MAIL FROM:<a@b.example>x", 501),
        ("MAIL TO:<a@b.example>", 501),
        ("MAIL", 501),
        ("RCPT TO:<a@b.example>", 503),
        ("DATA", 503),
        ("VRFY joe", 252),
        ("HELP", 214),
        ("BDAT 10 LAST", 500),
        ("STARTTLS", 502),
        ("AUTH PLAIN AGEAYg==", 502),
        ("EHLO", 501),
        ("\xff", 500),
    ],
)
def test_commands_are_answered_in_their_own_words(command, code):
    """One command after EHLO, and the code that RFC 5321 and its extensions want."""
    talk = Talk()
    talk.say("EHLO me")

    assert talk.code(command.encode("latin-1" if command == "\xff" else "utf-8") + b"\r\n") == code


def test_the_order_of_a_transaction_is_kept():
    """MAIL before RCPT before DATA, EHLO before all, no second MAIL; RSET and EHLO end what had begun."""
    talk = Talk()
    assert talk.code("MAIL FROM:<a@b.example>") == 503
    talk.say("EHLO me")
    assert talk.code("MAIL FROM:<a@b.example>") == 250
    assert talk.code("MAIL FROM:<a@b.example>") == 503
    assert talk.code("DATA") == 554
    assert talk.code("RCPT TO:<a@b.example> NOTIFY=NEVER") == 555
    assert talk.code("RCPT TO:<joe>") == 501
    assert talk.code("RCPT TO:<ü@b.example>") == 553
    assert talk.code("RCPT TO:<a@b.example>") == 250
    assert talk.code("RSET") == 250
    assert isinstance(talk.events[-1], Reset)
    assert talk.code("DATA") == 503


def test_a_bare_lf_in_a_command_ends_the_session():
    """Nothing behind it is read: it may be a command that somebody smuggled into a value."""
    talk = Talk()
    replies = talk.say(b"EHLO me\r\nNOOP x\nMAIL FROM:<evil@b.example>\r\n")

    assert replies[-1].startswith("500 5.5.2 Bare LF")
    assert talk.server.is_closed
    assert not any(isinstance(one, MailAsked) for one in talk.events)
    assert Talk().code(b"EHLO me\rMAIL\r\n") == 500
    assert Talk().code(b"EHLO m\0e\r\n") == 500


@given(st.integers(0, 3000), st.booleans())
@settings(max_examples=50)
def test_command_lines_are_bounded_in_any_chunks(length, bytewise):
    """2048 bytes are read, more are dropped to the line's end, and memory stays small."""
    talk, line = Talk(), b"NOOP " + b"x" * length + b"\r\n"
    replies = []
    for piece in [line[at : at + 1] for at in range(len(line))] if bytewise else [line]:
        replies += talk.say(piece)
        assert bytewise is False or len(talk.server._input) <= 2050

    assert [one[:3] for one in replies] == ["250" if len(line) - 2 <= 2048 else "500"]
    assert talk.code("NOOP") == 250


def test_errors_end_the_session_but_dead_addresses_of_a_list_do_not():
    """421 after too many faults; a refused RCPT counts only while nobody was accepted."""
    talk = Talk(max_recipients=1000)
    talk.say(b"EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<good@b.example>\r\n")
    talk.answers[RcptAsked] = Reply(550, "5.1.1", "unknown")
    assert {talk.code(f"RCPT TO:<r{n}@b.example>") for n in range(50)} == {550}
    assert [talk.code("BOGUS") for _ in range(8)][-1] == 421
    assert talk.server.is_closed
    guess = Talk(answers={RcptAsked: Reply(554, "5.7.1", "denied")})
    guess.say(b"EHLO me\r\nMAIL FROM:<a@b.example>\r\n")
    assert [guess.code(f"RCPT TO:<r{n}@b.example>") for n in range(8)][-1] == 421


def test_recipients_are_bounded_whether_they_are_good_or_not():
    """Refused ones are remembered too, so they count."""
    talk = Talk(answers={RcptAsked: OK})
    talk.say(b"EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<good@b.example>\r\n")
    talk.answers[RcptAsked] = Reply(550, "5.1.1", "unknown")
    assert [talk.code(f"RCPT TO:<r{n}@b.example>") for n in range(5)] == [550, 550, 550, 550, 452]


def test_starttls_forgets_what_was_said_in_the_clear():
    """Commands pipelined behind STARTTLS are dropped, and the session starts anew."""
    talk = Talk(has_tls=True)
    talk.say("EHLO me")
    assert talk.say(b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n")[-1].startswith("220")
    talk.server.receive(b"RCPT TO:<evil@b.example>\r\n")
    talk.server.forget_input()
    talk.server.encrypted("TLSv1.3")

    assert talk.server.next_event() is None
    assert talk.code("MAIL FROM:<a@b.example>") == 503
    talk.say("EHLO me")
    assert talk.code("STARTTLS") == 503
    assert talk.server.protocol == "ESMTPS"


def coded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "lines",
    [
        [f"AUTH PLAIN {coded(chr(0) + 'joe' + chr(0) + 'secret')}"],
        ["AUTH PLAIN", coded("\0joe\0secret")],
        ["auth login", coded("joe"), coded("secret")],
        [f"AUTH LOGIN {coded('joe')}", coded("secret")],
    ],
)
def test_plain_and_login_in_all_their_shapes(lines):
    """With and without an initial response."""
    talk = Talk(has_auth=True, tls="TLSv1.3")
    talk.say("EHLO me")
    codes = [talk.code(line) for line in lines]

    assert codes == [334] * (len(lines) - 1) + [235]
    assert talk.events[-1] == AuthAsked("joe", "secret", lines[0].split()[1].upper())
    assert talk.server.protocol == "ESMTPSA"
    assert talk.code("AUTH PLAIN") == 503


@pytest.mark.parametrize(
    "lines",
    [
        ["AUTH PLAIN ="],
        ["AUTH PLAIN", "*"],
        ["AUTH PLAIN", "nonsense!"],
        ["AUTH PLAIN", coded("joe")],
        ["AUTH LOGIN", "*"],
        ["AUTH LOGIN", coded(""), coded("x")],
        ["AUTH LOGIN", coded("joe"), "*"],
        ["AUTH LOGIN", coded("joe"), "x" * 20_000],
    ],
)
def test_attempts_to_log_in_that_are_no_such_thing(lines):
    """Cancelled, malformed or endless: a 5xx, nobody is asked, and the session goes on."""
    talk = Talk(has_auth=True, tls="TLSv1.3")
    talk.say("EHLO me")

    assert [talk.code(line) for line in lines][-1] in (500, 501)
    assert not talk.events
    assert talk.code("NOOP") == 250


def test_xclient_tells_of_one_client_and_then_trusts_no_more():
    """Another address takes the login of the one before away; behind EHLO the client itself may be speaking."""
    talk = Talk()
    talk.say("EHLO proxy")
    assert talk.code("XCLIENT ADDR=198.51.100.9 LOGIN=joe+40example.com NAME=home HELO=laptop") == 220
    assert talk.code("XCLIENT ADDR=IPV6:2001:db8::1 HELO=other") == 220
    connection = talk.server.connection
    assert (connection.client_ip, connection.login, connection.client_name) == ("2001:db8::1", "", "")
    assert "XCLIENT" not in " ".join(talk.say("EHLO evil"))
    assert talk.code("XCLIENT LOGIN=boss") == 550
    assert talk.code("XFORWARD ADDR=127.0.0.1") == 550
    assert talk.server.connection.helo == "other"


@pytest.mark.parametrize("argument", ["ADDR=nonsense", "ADDR", "", "NAME=a+0D+0Ab", "HELO=" + "x" * 300])
def test_attributes_that_are_none(argument):
    """501, and nothing changes."""
    talk = Talk()
    talk.say("EHLO proxy")
    before = talk.server.connection

    assert talk.code(f"XCLIENT {argument}") == 501
    assert talk.code(f"XFORWARD {argument}") == 501
    assert talk.server.connection == before
    assert Talk(may_forward=False).code("XCLIENT ADDR=192.0.2.1") == 550


MAIL = b"EHLO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\n"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 250),
        (b"x\r\n" * 3000, 250),
        (b"x" * 998 + b"\r\n", 250),
        (b"x" * 1000 + b"\r\n", 250),
        (b"x" * 1001 + b"\r\n", 550),
        (b"a\r\n" + b"x" * 1001 + b"\r\nb\r\n", 550),
        (b"x\r\n" * 4000, 552),
        (b"x" * 9998 + b"\r\n", 550),
        (b"a\nb\r\n", 550),
        (b"a\rb\r\n", 550),
        (b"a\n.\r\n", 550),
        (b"a\r\n.\nb\r\n", 550),
        (b"\n\r\n", 550),
    ],
)
def test_messages_are_held_to_the_same_rules_in_any_chunks(content, code):
    """Size, lines, bare CR and LF; refused messages are read to their end, and the session goes on."""
    for step in (1, 7, 4096, 1 << 20):
        talk, room = Talk(room=(room := Room(1 << 20))), room
        wire = MAIL + content + b".\r\n"
        replies = [line for at in range(0, len(wire), step) for line in talk.say(wire[at : at + step])]

        assert replies[-1].startswith(str(code)), step
        assert room.used_bytes == 0
        assert talk.code("NOOP") == 250


def test_room_is_shared_and_given_back():
    """452 where all connections together hold too much; SIZE asks before; whoever leaves gives back."""
    room = Room(5000)
    first, second = Talk(room=room), Talk(room=room)
    first.say(MAIL + b"x\r\n" * 1300)
    assert 3800 < room.used_bytes <= 3900
    assert second.code("EHLO me") == 250
    assert second.code("MAIL FROM:<a@b.example> SIZE=4000") == 452
    assert second.code(b"RSET\r\n" + MAIL + b"x\r\n" * 1000 + b".\r\n") == 452
    first.server.drop()
    assert room.used_bytes == 0
    assert second.code(MAIL + b"x\r\n" * 1000 + b".\r\n") == 250


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"x", b"yy"]), max_size=40), st.integers(1, 5))
@settings(max_examples=300)
def test_chunks_mean_nothing_to_a_message(pieces, step):
    """Whatever the bytes, whole and in pieces end at the same place with the same content or refusal."""
    data = b"".join(pieces) + b"\r\n.\r\nNEXT"
    found = []
    for size in (len(data), step):
        reader = DataReader(60, 10, Room(1 << 20))
        for at in range(0, len(data), size):
            rest = reader.feed(data[at : at + size])
            if rest is not None:
                found.append((rest + data[at + size :], reader.refusal, b"".join(reader.chunks)))
                break

    assert len(found) == 2
    assert found[0] == found[1]


LETTER = b"Subject: x\r\n\r\nhi\r\n.\r\n"


def test_lmtp_answers_a_message_for_each_recipient():
    """Three recipients of which one is refused: two answers, in order; EHLO is no command there (RFC 2033)."""
    talk = Talk(is_lmtp=True)

    assert talk.code("EHLO me") == 500
    assert talk.code("LHLO me") == 250
    talk.say("MAIL FROM:<>")
    talk.say("RCPT TO:<a@example.com>")
    talk.answers = {RcptAsked: Reply(550, "5.1.1", "No")}
    talk.say("RCPT TO:<b@example.com>")
    talk.answers = {}
    talk.say("RCPT TO:<c@example.com>")
    assert talk.say("DATA")[0].startswith("354")

    assert [line[:3] for line in talk.say(LETTER)] == ["250", "250"]


def test_lmtp_refuses_what_is_too_large_for_each_recipient():
    """Else the client would wait for the second answer for ever."""
    talk = Talk(is_lmtp=True, max_message_bytes=20)
    for line in ("LHLO me", "MAIL FROM:<>", "RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"):
        talk.say(line)

    assert [line[:3] for line in talk.say(b"x" * 100 + b"\r\n.\r\n")] == ["552", "552"]
