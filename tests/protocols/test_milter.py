"""The milter machine: questions at MAIL and at the end, nothing answered between, bounded whatever comes."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neighbours import milter_client as mta
from penstock.model import Connection, Reply
from penstock.protocols.milter import Bounds, MailAsked, MessageAsked, Milter, Quit, Room
from penstock.protocols.milter_packets import MilterError, macros, negotiate, read_connect, reply

BASE = Connection(peer_ip="127.0.0.1", listener="milter", is_trusted_peer=True)


def machine(room=None, **bounds):
    return Milter(BASE, Bounds(**bounds), room or Room(1 << 30))


def converse(milter, data, step=None, accept=None):
    """Feed all of it, whole or in steps, answering every question; returns the questions and the output."""
    events, output = [], b""
    step = step or max(1, len(data))
    for at in range(0, len(data), step):
        milter.receive(data[at : at + step])
        while (event := milter.next_event()) is not None:
            events.append(event)
            if isinstance(event, MailAsked):
                milter.proceed()
            elif isinstance(event, MessageAsked):
                milter.accept(**(accept or {}))
            else:
                return events, output + milter.take_output()
        output += milter.take_output()
    return events, output


WHOLE = (
    mta.negotiation()
    + mta.connect()
    + mta.mail()
    + mta.recipient()
    + mta.recipient(b"<b@here.example>", b"local")
    + mta.content(((b"From", b" joe@example.com"), (b"Subject", b" a\n\tfolded one")), (b"Hi\r\n", b"there\r\n"))
)


@pytest.mark.parametrize("step", [None, 1, 7])
def test_a_message_is_put_together_as_it_was_sent(step):
    """Envelope, login, queue id, mailers and RFC 5322 bytes, however the packets are cut."""
    events, output = converse(machine(), WHOLE + mta.packet(b"Q"), step)

    mail, message, bye = events
    assert (mail.mail_from, mail.connection.login) == ("joe@example.com", "joe@example.com")
    assert message.raw == b"From: joe@example.com\r\nSubject: a\r\n\tfolded one\r\n\r\nHi\r\nthere\r\n"
    assert message.envelope.rcpt_to == ("a@far.example", "b@here.example")
    assert message.envelope.mail_parameters == ("BODY=8BITMIME",)
    assert (message.queue_id, message.mailers, message.is_cut) == ("4XQ1", {"smtp", "local"}, False)
    assert message.connection == Connection(
        client_ip="192.0.2.7", client_name="client.example", helo="laptop", peer_ip="127.0.0.1",
        login="joe@example.com", login_method="PLAIN", listener="submission", is_trusted_peer=True,
    )  # fmt: skip
    assert isinstance(bye, Quit)
    assert [command for command, _ in mta.replies(output)] == ["O", "c", "a"]


def test_only_what_was_offered_is_agreed():
    """Postfix takes a reply that asks for more than it offers for an error; macros are named for each stage."""
    _, output = converse(machine(), mta.negotiation(steps=1 << 7))
    ((_, data),) = mta.replies(output)
    version, actions, steps = struct.unpack_from(">III", data)

    assert (version, actions, steps) == (6, 0x111, 1 << 7)
    assert b"{auth_authen}" in data[12:]
    assert len(mta.replies(converse(machine(), mta.negotiation(version=4, actions=0x1F))[1])[0][1]) == 12


def test_a_mail_server_that_wants_every_answer_gets_it():
    """Version 2 knows no silent steps: each of them is answered by `continue`."""
    stream = mta.negotiation(2, 0x3F, 0) + mta.connect() + mta.mail() + mta.recipient() + mta.content()
    events, output = converse(machine(), stream)

    assert events[-1].raw == b"Subject:  hello\r\n\r\nHi\r\n"  # without HDR_LEADSPC the value has lost its first blank
    assert [command for command, _ in mta.replies(output)] == list("Occcccca")


def test_headers_are_removed_from_the_last_and_added_on_top():
    """Every occurrence goes, whatever the case; the first of the added ones ends on top."""
    headers = ((b"X-AuthUser", b" a"), (b"Subject", b" s"), (b"x-authuser", b" b"))
    accept = {"remove": ("x-authuser", "x-none"), "add": (("X-One", "1"), ("X-Two", "2"))}
    stream = mta.negotiation() + mta.mail() + mta.recipient() + mta.content(headers)
    _, output = converse(machine(), stream, accept=accept)

    assert mta.replies(output)[2:] == [
        ("m", b"\0\0\0\x02x-authuser\0\0"),
        ("m", b"\0\0\0\x01x-authuser\0\0"),
        ("i", b"\0\0\0\0X-Two\0 2\0"),
        ("i", b"\0\0\0\0X-One\0 1\0"),
        ("a", b""),
    ]


def test_refusal_and_discard():
    """A refusal at MAIL ends the transaction and the next begins clean; a held message is discarded."""
    milter = machine()
    milter.receive(mta.negotiation() + mta.mail())
    assert isinstance(milter.next_event(), MailAsked)
    milter.refuse(Reply(450, "4.7.1", "[PS-SUSPENDED] no"))
    milter.receive(mta.packet(b"A") + mta.mail(b"<>", b"") + mta.recipient() + mta.content())
    second = milter.next_event()
    assert (second.mail_from, second.connection.login) == ("", "")
    milter.proceed()
    assert milter.next_event().envelope.rcpt_to == ("a@far.example",)
    milter.discard()

    assert mta.replies(milter.take_output())[1:] == [("y", b"450 4.7.1 [PS-SUSPENDED] no\0"), ("c", b""), ("d", b"")]


def test_no_login_is_taken_for_the_next_message():
    """Macros of one transaction end with it, even where the next one comes without any."""
    milter = machine()
    bare = mta.packet(b"M", mta.z(b"<x@example.com>"))
    events, _ = converse(milter, WHOLE + bare + mta.recipient() + mta.content(queue_id=b"") + mta.packet(b"A") + bare)

    assert [one.connection.login for one in events] == ["joe@example.com"] * 2 + [""] * 3
    assert events[3].queue_id == ""


def test_a_mail_server_cannot_name_itself_like_our_own_listeners():
    """What may be held and whose headers count depends on the listener's name."""
    stream = mta.negotiation() + mta.packet(b"D", b"C" + mta.z(b"{daemon_name}", b"http")) + mta.mail()

    assert converse(machine(), stream)[0][0].connection.listener == "milter"


def test_what_is_too_large_is_cut_and_its_memory_given_back():
    """Beyond the limit bytes are dropped, the message is marked, and the common room is empty again."""
    room = Room(1 << 20)
    milter = machine(room, max_message_bytes=1000)
    stream = mta.negotiation() + mta.mail() + mta.recipient() + mta.content(body=(b"x" * 900, b"y" * 900, b"z"))
    events, _ = converse(milter, stream)

    assert events[1].is_cut
    assert len(events[1].raw) == 1000
    assert room.used_bytes == 0


def test_where_no_room_is_left_the_beginning_is_still_judged():
    """A full room leaves each message its floor, so that nothing passes unseen."""
    room = Room(100_000, used_bytes=100_000)
    body = (b"a" * 60_000, b"b" * 60_000)
    events, _ = converse(machine(room), mta.negotiation() + mta.mail() + mta.recipient() + mta.content(body=body))

    assert (events[1].is_cut, len(events[1].raw)) == (True, room.floor_bytes)
    assert room.used_bytes == 100_000


def test_too_many_recipients_are_told():
    """A 452 at the end; the connection goes on."""
    stream = mta.negotiation() + mta.mail() + mta.recipient() * 4 + mta.content()
    events, output = converse(machine(max_recipients=3), stream + mta.mail())

    assert mta.replies(output)[2] == ("y", b"452 4.5.3 Too many recipients in one message\0")
    assert [type(one) for one in events] == [MailAsked, MailAsked]


@pytest.mark.parametrize(
    "stream",
    [
        mta.packet(b"C", b"x"),
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        mta.packet(b"O", b"short"),
        mta.negotiation(version=1),
        mta.negotiation(actions=0),
        mta.negotiation() + mta.packet(b"E"),
        mta.negotiation() + mta.packet(b"C", b"no family"),
        mta.negotiation() + mta.packet(b"L", b"no value"),
        mta.negotiation() + mta.packet(b"D"),
        mta.negotiation() + mta.packet(b"?"),
    ],
)
def test_what_is_no_milter_is_told_apart(stream):
    """Each breach of the protocol raises MilterError and nothing else."""
    with pytest.raises(MilterError):
        converse(machine(), stream)


@pytest.mark.parametrize(
    ("given_reply", "sent"),
    [
        (Reply(550, "5.7.1", "100% spam"), b"550 5.7.1 100%% spam\0"),
        (Reply(250, "2.0.0", "odd"), b"451 4.7.1 odd\0"),
        (Reply(550, "4.7.1", "a\r\n250 b\0c\u20ac"), b"550 5.7.1 a 250 b?c?\0"),
        (Reply(451, "", ""), b"451 4.7.1\0"),
    ],
)
def test_replies_are_always_valid(given_reply, sent):
    """One line of printable ASCII, status of the code's class, '%' doubled."""
    assert mta.replies(reply(given_reply)) == [("y", sent)]


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"mx.example\x004\x9c\x40192.0.2.1\0", ("mx.example", "192.0.2.1")),
        (b"[192.0.2.1]\x004\x9c\x40192.0.2.1\0", ("", "192.0.2.1")),
        (b"v6\x006\0\0IPv6:2001:db8::1\0", ("v6", "2001:db8::1")),
        (b"local\0U", ("local", "")),
        (b"local\0L\0\0/run/x\0", ("local", "")),
    ],
)
def test_clients_by_family(payload, found):
    """Both families, Sendmail's prefix, Unix sockets and the unknown."""
    assert read_connect(payload) == found


def test_macros_with_and_without_braces():
    """Sendmail writes `i`, others `{i}`; a name without value is none."""
    assert macros(b"{i}\0Q1\0") == {b"i": b"Q1"}
    assert macros(b"j\0x\0i\0Q1\0") == {b"j": b"x", b"i": b"Q1"}
    assert macros(b"i") == macros(b"") == {}


@given(st.binary(max_size=400), st.integers(1, 50))
def test_garbage_is_refused_or_waits(data, step):
    """Any bytes after a good beginning, in any pieces: an event, silence or MilterError; memory stays bounded."""
    milter = machine(room := Room(1 << 16), max_message_bytes=100, max_packet_bytes=500)
    with contextlib.suppress(MilterError):
        converse(milter, mta.negotiation() + mta.mail() + data, step)
    assert room.used_bytes <= 100
    milter.close()
    assert room.used_bytes == 0


COMMANDS = st.lists(
    st.tuples(st.sampled_from([bytes([one]) for one in b"ABCDEHLMNRTUK"]), st.binary(max_size=40)), max_size=30
)


@settings(max_examples=200)
@given(COMMANDS, st.integers(1, 30))
def test_packets_in_any_order_read_the_same_in_any_pieces(commands, step):
    """Well-framed nonsense gives the same questions and output whole and cut, or the same complaint."""
    stream = mta.negotiation() + b"".join(mta.packet(command, data) for command, data in commands)

    def run(step):
        try:
            return converse(machine(), stream, step)
        except MilterError as trouble:
            return str(trouble)

    assert run(None) == run(step)


@given(st.binary(max_size=64))
def test_negotiation_survives_anything(payload):
    """An answer within what was offered, or MilterError."""
    try:
        _, answer = negotiate(payload)
    except MilterError:
        return
    _, offered, steps = struct.unpack_from(">III", payload)
    version, actions, agreed = struct.unpack_from(">III", answer, 5)
    assert version <= 6
    assert actions & ~offered == 0
    assert agreed & ~steps == 0
