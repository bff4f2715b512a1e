"""The SMTP machines without I/O: whole, byte by byte, and garbage give the same session, in bounded memory."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model import Connection, Reply
from penstock.protocols.dovecot_auth import AuthClient, AuthFault, request
from penstock.protocols.headers import received_line, rewrite
from penstock.protocols.smtp_client import (
    AnswerReader,
    ProtocolFault,
    extensions_of,
    mail_command,
    queue_id_of,
    stuffed,
)
from penstock.protocols.smtp_data import DataReader, Room
from penstock.protocols.smtp_events import AuthAsked, Closed, MailAsked, MessageAsked, RcptAsked, Reset, ServerSettings
from penstock.protocols.smtp_server import SmtpServer
from penstock.protocols.smtp_syntax import SyntaxFault, is_address, read_attributes, read_path, read_xtext

SETTINGS = ServerSettings("mx.example", 10_000, 5, 1000, 8, has_auth=True, auth_without_tls=True)
OK = Reply(250, "2.0.0", "Ok")


def talk(pieces, room=None):
    """A session in which everything is welcome: (events, output)."""
    server = SmtpServer(SETTINGS, Connection(), room or Room(1 << 20), may_forward=True)
    events = []
    for piece in pieces:
        server.receive(piece)
        while (event := server.next_event()) is not None:
            events.append(event)
            match event:
                case MailAsked() | RcptAsked() | MessageAsked():
                    server.answer(OK)
                case AuthAsked():
                    server.authenticated(event.user, event.method)
                case Reset():
                    pass
                case Closed():
                    return events, server.take_output()
                case _:
                    return events, server.take_output()
    output = server.take_output()
    server.drop()
    return events, output


SESSION = (
    b"EHLO me\r\nMAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
    b"Subject: x\r\n\r\n..dots\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\n"
)


def test_a_session_whole_and_byte_by_byte_is_the_same():
    """Chunks mean nothing."""
    whole = talk([SESSION])

    events, output = talk([bytes((one,)) for one in SESSION])
    assert [type(one) for one in events] == [type(one) for one in whole[0]]
    assert output == whole[1]
    assert b"".join(events[2].chunks) == b"".join(whole[0][2].chunks)
    assert [type(one) for one in whole[0]] == [MailAsked, RcptAsked, MessageAsked, Closed]
    assert whole[0][0] == MailAsked("a@example.com", ("BODY=8BITMIME",))
    assert b"".join(whole[0][2].chunks) == b"Subject: x\r\n\r\n.dots\r\n"


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(SESSION.split(b"\r\n")).map(lambda one: one + b"\r\n")))
)
def test_garbage_never_breaks_the_server(pieces):
    """Any bytes: replies are well formed, room is given back, and pieces mean nothing."""
    room = Room(1 << 20)
    events, output = talk(pieces, room)

    assert room.used_bytes == 0
    assert all(line[:3].isdigit() for line in output.decode("utf-8", "replace").split("\r\n") if line)
    joined = b"".join(pieces)
    if not any(isinstance(one, Closed) for one in events):
        assert talk([joined])[1] == output


@given(
    st.lists(st.sampled_from([b"\n", b".", b"..", b"x", b"abc"])).map(b"".join), st.integers(1, 7), st.integers(1, 9)
)
def test_data_ends_at_its_end_and_nowhere_else(body, step, block):
    """What is dot-stuffed comes out as it was, in any chunks, and the rest behind the end stays."""
    raw = body.replace(b"\n", b"\r\n") + b"\r\n"
    wire = b"".join(stuffed(raw, block)) + b"NEXT"
    reader = DataReader(10_000, 1000, Room(1 << 20))
    rest = None
    for at in range(0, len(wire), step):
        rest = reader.feed(wire[at : at + step])
        if rest is not None:
            rest += wire[at + step :]
            break

    assert b"".join(reader.chunks) == raw
    assert reader.refusal is None
    assert rest == b"NEXT"


@given(st.binary(max_size=300), st.integers(1, 9))
def test_replies_of_any_server_are_read_or_refused(data, step):
    """Garbage is a ProtocolFault; nothing else is raised, and chunks mean nothing."""
    found, pieces = [], [data[at : at + step] for at in range(0, len(data), step)]
    for target, chunks in ((found, [data]), (again := [], pieces)):
        reader = AnswerReader()
        with contextlib.suppress(ProtocolFault):
            for one in chunks:
                target += reader.feed(one)
    assert found == again or len(found) <= len(again)


def test_replies_of_several_lines_and_what_ehlo_announces():
    """Continuation lines join; extensions are found; a parameter that is not announced is not sent."""
    (answer,) = AnswerReader().feed(b"250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n")
    assert extensions_of(answer) == {"PIPELINING": "", "SIZE": "1000"}
    assert mail_command("a@b.example", ("BODY=8BITMIME",), {}) == b"MAIL FROM:<a@b.example>\r\n"
    (refusal,) = AnswerReader().feed(b"550-5.1.1 no\r\n550 5.1.1 such user\r\n")
    assert refusal.reply() == Reply(550, "5.1.1", "no such user")
    with pytest.raises(ProtocolFault):
        AnswerReader().feed(b"x" * 100_000)
    assert [b"".join(stuffed(raw)) for raw in (b"", b".", b"a\r\n")] == [b".\r\n", b"..\r\n.\r\n", b"a\r\n.\r\n"]


names = st.sampled_from(["X-A", "x-secret", "Subject", "X-Penstock-Ref"])


@given(st.lists(st.tuples(names, st.text("ab \t:", max_size=20), st.booleans())), st.binary(max_size=60))
def test_rewriting_touches_named_fields_only(fields, body):
    """Named fields go with their folded lines, all else stays byte for byte; the body is never looked at."""
    lines = [f"{name}: {value}\r\n".encode() + (b" folded\r\n" if fold else b"") for name, value, fold in fields]
    raw = b"".join(lines) + b"\r\n" + body
    kept = b"".join(line for line, (name, _, _) in zip(lines, fields, strict=True) if name.lower() != "x-secret")

    assert (
        rewrite(raw, (("X-New", "v\r\nEvil: yes"),), ("x-secret",)) == b"X-New: vEvil: yes\r\n" + kept + b"\r\n" + body
    )


def test_the_received_line_tells_the_way_and_no_lies():
    """RFC 5321 4.4; what a client says of itself cannot add comments or lines."""
    facts = {"client_ip": "2001:db8::1", "by": "mx.example", "protocol": "ESMTP", "id": "i1", "at": 0.0}
    line = received_line(helo="me) (evil\r\nX: y", client_name="", **facts)

    assert line.startswith(b"Received: from me??")
    assert b"[IPv6:2001:db8::1]" in line
    assert line.count(b"\r\n") == 3
    assert b"2001" not in received_line(helo="me", client_name="", is_hidden=True, **facts)


@given(st.text(max_size=80))
def test_paths_and_attributes_are_read_or_refused(text):
    """Any argument gives a value or a SyntaxFault."""
    with contextlib.suppress(SyntaxFault):
        path, parameters = read_path(text, "FROM")
        assert "<" not in path
        assert len(parameters) <= 20
    with contextlib.suppress(SyntaxFault):
        read_attributes(text)
    assert isinstance(read_xtext(text), str)
    assert isinstance(is_address(text), bool)


def test_source_routes_and_quoted_local_parts():
    """RFC 5321 appendix F.2: the route goes, the address stays."""
    assert read_path("TO:<@a.example,@b.example:joe@c.example>", "TO") == ("joe@c.example", ())
    assert read_path('TO:<"odd one"@c.example>', "TO")[0] == '"odd one"@c.example'
    assert read_path("FROM:<>", "FROM") == ("", ())
    assert is_address("postmaster")
    assert not is_address("joe")
    assert read_xtext("joe+40example.com") == "joe@example.com"


@given(st.binary(max_size=200))
def test_dovecots_answers_are_read_or_refused(data):
    """Garbage is an AuthFault at most."""
    with contextlib.suppress(AuthFault):
        AuthClient().feed(data)


def test_dovecots_handshake_and_answers():
    """Ready after DONE; OK brings the login's own name; a temporary failure is told apart."""
    client = AuthClient()
    client.feed(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nDONE\n")
    assert client.is_ready
    good, bad, later = client.feed(b"OK\t1\tuser=joe@example.com\nFAIL\t2\tuser=x\nFAIL\t3\ttemp\n")
    assert (good.is_good, good.user) == (True, "joe@example.com")
    assert not bad.is_good
    assert later.is_temporary
    assert request(1, "joe", "secret", "192.0.2.1").startswith(b"AUTH\t1\tPLAIN\tservice=smtp")
    with pytest.raises(ValueError, match="NUL"):
        request(1, "joe\0", "x", "")
    with pytest.raises(AuthFault):
        AuthClient().feed(b"VERSION\t2\t0\n")


@pytest.mark.parametrize(
    ("text", "queue_id"),
    [
        ("Ok: queued as 4B1C2D3E4F", "4B1C2D3E4F"),
        ("from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4Vg7hK1c2Dz9Yx", "4Vg7hK1c2Dz9Yx"),
        ("OK id=1rZabc-0001Fx-2Q", "1rZabc-0001Fx-2Q"),
        ("OK id=1rZabc-00000003Fxy-2Qab", "1rZabc-00000003Fxy-2Qab"),
        ("4AO8hTxV012345 Message accepted for delivery", "4AO8hTxV012345"),
        ("Ok", ""),
    ],
)
def test_the_next_hop_tells_what_it_calls_a_message(text, queue_id):
    """Postfix, Exim and Sendmail; a refusal names no queue."""
    assert queue_id_of(Reply(250, "2.0.0", text)) == queue_id
    assert queue_id_of(Reply(550, "5.0.0", text)) == ""
