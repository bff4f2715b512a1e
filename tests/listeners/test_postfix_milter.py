"""A real Postfix in front of the milter listener: login, headers, refusals, pools, local submissions."""

import contextlib
import ipaddress

import aiosmtplib
import pytest

from neighbours.gate import FakeGate, Surroundings, decision
from neighbours.postfix import POOLS, PeerSink, Postfix
from penstock.listeners.milter import MilterListener, MilterSettings
from penstock.model import Action, Reply

LOGINS = {"joe@example.com": "secret"}
LETTER = (
    "Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nMessage-ID: <m1@example.com>\r\n"
    "From: joe@example.com\r\nTo: a@far.example\r\nSubject: hello\r\nX-AuthUser: forged\r\n"
    "X-Penstock-Pool: risk\r\nX-AuthUser:\r\n\tforged again\r\n\r\nHi there\r\n.dot\r\n"
)


@contextlib.asynccontextmanager
async def mail_server(gate, **more):
    """Postfix with a milter that asks `gate`, and a sink behind it."""
    around = Surroundings()
    settings = MilterSettings(listen=("127.0.0.1:0",), trusted_networks=(ipaddress.ip_network("127.0.0.0/8"),))
    listener = MilterListener(settings, gate, count=around.count, now=around.now, new_id=around.new_id)
    await listener.start()
    try:
        async with (
            PeerSink() as sink,
            Postfix(sink=sink.address, milter=listener.addresses[0], logins=LOGINS, **more) as postfix,
        ):
            postfix.listener, postfix.counts = listener, around.counts
            yield postfix, sink
    finally:
        await listener.stop(1.0)


async def submit(postfix, *recipients, letter=LETTER):
    """Log in and send one message, as a customer's program does."""
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=postfix.port, start_tls=False, timeout=20)
    async with client:
        await client.login("joe@example.com", "secret")
        return await client.sendmail("joe@example.com", list(recipients or ["a@far.example"]), letter.encode())


def headers_of(raw):
    return raw.partition(b"\r\n\r\n")[0].decode()


async def test_a_customers_mail_is_judged_and_its_headers_change():
    """Login, recipients, transports and bytes arrive; forged headers are gone, ours are on the delivered message."""
    change = {
        "add_headers": (("X-Penstock-Ref", "token"), ("Feedback-ID", "a:normal:x")),
        "remove_headers": ("x-authuser", "x-penstock-pool"),
    }
    gate = FakeGate(lambda one: decision(one, **change))
    async with mail_server(gate) as (postfix, sink):
        await submit(postfix)
        await submit(postfix)
        await postfix.until(lambda: len(sink.messages) == 2)

        (opening, _), (submission, _) = gate.openings, gate.submissions
        assert opening.connection.login == submission.connection.login == "joe@example.com"
        assert (submission.connection.login_method, submission.connection.listener) == ("PLAIN", "submission")
        assert submission.connection.client_ip == "127.0.0.1"
        assert submission.envelope.mail_from == "joe@example.com"
        assert submission.envelope.rcpt_to == ("a@far.example",)
        assert submission.queue_id
        assert submission.queue_id in postfix.log()
        assert not submission.local_recipients
        assert submission.raw == LETTER.encode()
        assert submission.connection.client_name == ""  # it has none
        head = headers_of(sink.messages[0][2])
        assert head.startswith("X-Penstock-Ref: token\r\nFeedback-ID: a:normal:x\r\nReceived: ")
        assert "forged" not in head
        assert "X-Penstock-Pool" not in head
        assert sink.messages[0][2].endswith(b"\r\n\r\nHi there\r\n.dot\r\n")
        assert postfix.warnings() == []


async def test_a_pool_is_a_transport_and_no_customer_chooses_it():
    """The pool that Penstock names decides the source address; the customer's own header neither does nor leaves."""
    pools = iter(["normal", "risk", ""])

    def answer(submission):
        pool = next(pools)
        return decision(
            submission, remove_headers=("x-penstock-pool",), add_headers=(("X-Penstock-Pool", pool),) if pool else ()
        )

    async with mail_server(FakeGate(answer)) as (postfix, sink):
        for count in (1, 2, 3):
            await submit(postfix)
            await postfix.until(lambda count=count: len(sink.messages) == count)

        assert sink.peers == [POOLS["normal"], POOLS["risk"], "127.0.0.1"]
        assert not any(b"X-Penstock-Pool" in raw for _, _, raw in sink.messages)
        assert postfix.warnings() == []


@pytest.mark.parametrize(
    ("action", "reply", "code"),
    [
        (Action.REJECT, Reply(550, "5.7.1", "[PS-CONTENT] 100% no, see https://x.example/d1"), 550),
        (Action.THROTTLE, Reply(450, "4.7.1", "[PS-ACCOUNT] come again later"), 450),
    ],
)
async def test_the_client_reads_our_own_words(action, reply, code):
    """Code, status and text of the decision, unchanged, and nothing is delivered."""
    async with mail_server(FakeGate(lambda one: decision(one, action, reply=reply))) as (postfix, sink):
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await submit(postfix)

        assert caught.value.code == code
        assert caught.value.message == f"{reply.enhanced} {reply.text}"
        assert sink.messages == []
        assert postfix.warnings() == []


async def test_a_suspended_account_is_refused_at_mail():
    """Before any content, in our own words; once the suspension is lifted the same client goes on."""
    gate = FakeGate(refusal=Reply(450, "4.7.1", "[PS-SUSPENDED] closed"))
    async with mail_server(gate) as (postfix, sink):
        with pytest.raises(aiosmtplib.SMTPException) as caught:
            await submit(postfix)
        gate.refusal = None
        await submit(postfix)
        await postfix.until(lambda: sink.messages)

    assert "[PS-SUSPENDED] closed" in str(caught.value)
    assert [one.mail_from for one in gate.openings] == ["joe@example.com"] * 2
    assert len(gate.submissions) == 1


async def test_a_held_message_is_taken_and_delivered_nowhere():
    """The client's 250 says that it is kept; Postfix forgets it."""
    async with mail_server(FakeGate(lambda one: decision(one, Action.HOLD))) as (postfix, sink):
        await submit(postfix)
        await postfix.until(lambda: "milter-discard" in postfix.log())

        assert sink.messages == []


async def test_local_recipients_are_told_by_their_transport():
    """A message to a local and a remote recipient may not be given to a pool."""
    gate = FakeGate()
    async with mail_server(gate) as (postfix, sink):
        await submit(postfix, "a@far.example", "neighbour@provider.example")
        await postfix.until(lambda: sink.messages)

        assert gate.submissions[0].local_recipients
        assert gate.submissions[0].envelope.rcpt_to == ("a@far.example", "neighbour@provider.example")


async def test_local_submissions_tell_the_unix_user():
    """header_checks write down whose process called sendmail, and drop what the sender forged."""
    gate = FakeGate(lambda one: decision(one, remove_headers=("x-penstock-uid",)))
    async with mail_server(gate) as (postfix, sink):
        await postfix.sendmail("Subject: local\nX-Penstock-Uid: 33\n\nfrom PHP\n", "a@far.example")
        await postfix.until(lambda: sink.messages)

        (submission,) = gate.submissions
        uids = [line for line in headers_of(submission.raw).split("\r\n") if line.startswith("X-Penstock-Uid")]
        assert uids == ["X-Penstock-Uid: 0"]
        assert submission.connection.login == ""
        assert submission.local_recipients  # Postfix names no transports here
        assert b"X-Penstock-Uid" not in sink.messages[0][2]


async def test_our_own_trouble_delays_mail_and_loses_none():
    """A fault while judging is a 451 to the client; the next message passes on the same Postfix."""
    troubles = iter([True, False])

    def answer(submission):
        if next(troubles):
            raise RuntimeError("boom")
        return decision(submission)

    async with mail_server(FakeGate(answer)) as (postfix, sink):
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await submit(postfix)
        await submit(postfix)
        await postfix.until(lambda: sink.messages)

        assert caught.value.code == 451
        assert "[PS-FAILURE]" in caught.value.message
        assert postfix.counts["milter-failures"] == 1


async def test_postfix_decides_while_penstock_is_away():
    """Without a milter the configured default action holds: here, 4xx."""
    async with mail_server(FakeGate()) as (postfix, sink):
        await postfix.listener.stop(1.0)
        with pytest.raises(aiosmtplib.SMTPException) as caught:
            await submit(postfix)

        assert "4.7.1" in str(caught.value) or "4.3." in str(caught.value)
        assert sink.messages == []
