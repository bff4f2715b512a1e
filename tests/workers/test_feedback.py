"""What comes back is tied to decision and account, and counts once."""

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.workers.follower import made

from penstock.judge.history import read_account
from penstock.model import Account, AccountRow, Action, Decision, DecisionRow, Kind, Standing
from penstock.protocols import arf
from penstock.protocols.deliveries import Reader, exim, postfix
from penstock.protocols.reports import read_report
from penstock.store.memory import MemoryStore
from penstock.store.ports import Records, StoreUnavailable
from penstock.store.sqlite import SqliteStore

NOW = 1_788_300_000.0
JOE = "sasl:joe@example.com"
KILLS = int(os.environ.get("PENSTOCK_KILLS", "4"))
ONE = "01jd00000000000000aa"
TOKEN = f"{ONE}-abcdefghijklm"


def bounced(number, queue_id="4B1C2D3E4F", reply="550 5.1.1 no such user"):
    return (
        f"2026-09-01T08:00:00.{number:06d}+00:00 mx1 postfix/smtp[8]: {queue_id}: to=<u{number}@far.example>, "
        f"relay=mx.far.example[203.0.113.4]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced ({reply})\n"
    ).encode()


def row(id, **more):
    given = {"queue_id": "4B1C2D3E4F", "message_id": "one@example.com"} | more
    decision = Decision(id, NOW, Account.parse(JOE), Action.ACCEPT, Action.ACCEPT, Standing.NORMAL, Kind.NORMAL, 0.0)
    return DecisionRow(
        decision, "joe@example.com", ("ann@far.example",), "192.0.2.7", "smtp", subject="", size_bytes=9, **given
    )


async def judged(store, *rows):
    await store.update((), lambda: Records(decisions=rows))


async def bounces(store, account=JOE):
    """How many bounces an account took in; the count fades with messages only, and here are none."""
    state = (await store.read((f"a:{account}",)))[f"a:{account}"]
    return read_account(state, NOW).bounces.yes


@pytest.fixture
async def store():
    made = MemoryStore(now=lambda: NOW)
    await made.open()
    return made


async def test_a_bounce_in_the_log_counts_against_its_account_once(store):
    """By queue id; what is read twice counts once."""
    await judged(store, row(ONE))
    _, feedback = made(store, now=lambda: NOW)

    for _ in range(2):
        await feedback.take_block(bounced(1) + bounced(2) + bounced(3, reply="552 5.2.2 mailbox full"), Reader(postfix))

    assert await bounces(store) == 2


async def test_a_message_without_our_queue_id_is_known_by_its_message_id_or_login(store):
    """The relay's next hop has queue ids of its own; what it logs of the arrival leads back."""
    await judged(store, row(ONE, queue_id=""))
    _, feedback = made(store, now=lambda: NOW)
    arrival = b"2026-09-01T08:00:00+00:00 mx1 postfix/cleanup[8]: 4FFFFFFFFF: message-id=<one@example.com>\n"
    login = (
        b"2026-09-01 08:00:00 1tABcd-000000005Xy-0abc <= a@b.example P=esmtpsa A=plain:Bob@example.com S=9\n"
        b"2026-09-01 08:00:01 1tABcd-000000005Xy-0abc ** a@far.example R=x T=y: 550 5.1.1 no such user\n"
    )

    await feedback.take_block(arrival + bounced(1, "4FFFFFFFFF"), Reader(postfix))
    await feedback.take_block(login, Reader(exim))
    await feedback.take_block(bounced(2, "4EEEEEEEEE"), Reader(postfix))

    assert await bounces(store) == 1
    assert await bounces(store, "sasl:bob@example.com") == 1


async def test_log_report_and_relay_tell_of_one_bounce(store):
    """The same recipient of the same message fails once, whoever tells."""
    await judged(store, row(ONE))
    _, feedback = made(store, now=lambda: NOW, read_token=lambda text: text[:20] if text == TOKEN else None)
    report = undelivered(f"X-Penstock-Ref: {TOKEN}\nSubject: x", "U1@far.example")

    await feedback.take_block(bounced(1), Reader(postfix))
    taken = await feedback.take_mail(report)

    assert (taken.what, taken.account, taken.decision_id, taken.counted) == ("bounce", JOE, ONE, 1)
    assert await bounces(store) == 1


def undelivered(original, recipient="u1@far.example"):
    return (
        "Return-Path: <>\nFrom: MAILER-DAEMON@far.example\nSubject: Undelivered\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n--b\n'
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; far.example\n\nFinal-Recipient: rfc822; "
        f"{recipient}\nAction: failed\nStatus: 5.1.1\n\n--b\nContent-Type: text/rfc822-headers\n\n{original}\n\n--b--\n"
    ).encode()


def told_to(pipeline):
    """Keys of the events that the pipeline is told; a recipient counts once anyway."""
    keys, absorb = [], pipeline.absorb

    async def listen(event):
        keys.append(event.key)
        return await absorb(event)

    pipeline.absorb = listen
    return keys


async def test_log_and_report_have_one_key_for_a_bounce_of_a_message_without_decision(store):
    """The Message-ID stands for it in both; the log leads to the account by its login, the report by Feedback-ID."""
    row_of_joe = AccountRow(JOE, "", Standing.NORMAL, 0.0, NOW, 1, 1)
    await store.update((), lambda: Records(accounts=(row_of_joe,)))
    pipeline, feedback = made(store, now=lambda: NOW, tag_of=lambda name: "joestag")
    keys = told_to(pipeline)
    log = (
        b"2026-09-01 08:00:00 1tABcd-000000005Xy-0abc <= a@b.example P=esmtpsa A=plain:Joe@example.com S=9 "
        b"id=far@example.com\n"
        b"2026-09-01 08:00:01 1tABcd-000000005Xy-0abc ** u1@far.example R=x T=y: 550 5.1.1 no such user\n"
    )

    await feedback.take_block(log, Reader(exim))
    await feedback.take_mail(undelivered("Message-ID: <far@example.com>\nFeedback-ID: joestag:normal:penstock"))

    assert keys == ["bounced/far@example.com/u1@far.example"] * 2
    assert await bounces(store) == 1


async def test_reports_that_name_no_message_are_told_apart_by_themselves(store):
    """The same one twice has one key; another one of the same recipient has its own."""
    row_of_joe = AccountRow(JOE, "", Standing.NORMAL, 0.0, NOW, 1, 1)
    await store.update((), lambda: Records(accounts=(row_of_joe,)))
    pipeline, feedback = made(store, now=lambda: NOW, tag_of=lambda name: "joestag")
    keys = told_to(pipeline)

    for subject in ("one", "one", "two"):
        await feedback.take_mail(undelivered(f"Feedback-ID: joestag:normal:penstock\nSubject: {subject}"))

    assert keys[0] == keys[1] != keys[2]


def complaint(original):
    return (
        "From: fbl@isp.example\nSubject: Report\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n\n"
        f"--b\nContent-Type: message/rfc822\n\n{original}\n\n--b--\n"
    ).encode()


@pytest.mark.parametrize(
    ("original", "decision_id"),
    [
        (f"X-Penstock-Ref: {TOKEN}\nFrom: redacted", ONE),
        ("Message-ID: <one@example.com>\nFrom: redacted", ONE),
        ("Feedback-ID: joestag:normal:penstock\nFrom: redacted", ""),
    ],
    ids=["token", "message-id", "feedback-id"],
)
async def test_a_redacted_complaint_still_finds_its_account(store, original, decision_id):
    """Any one of the three marks is enough."""
    account = AccountRow(JOE, "", Standing.NORMAL, 0.0, NOW, 1, 1)
    await store.update((), lambda: Records(decisions=(row(ONE),), accounts=(account,)))
    _, feedback = made(
        store,
        now=lambda: NOW,
        read_token=lambda text: text[:20] if text == TOKEN else None,
        tag_of=lambda name: name[5:8] + "stag",
    )

    for _ in range(2):
        taken = await feedback.take_mail(complaint(original))

    assert (taken.what, taken.account, taken.decision_id) == ("complaint", JOE, decision_id)
    assert read_account((await store.read((f"a:{JOE}",)))[f"a:{JOE}"], NOW).complaints.yes == 1.0


async def test_a_complaint_by_hand_counts_as_one(store):
    """What a person calls a complaint is one, though the message is nothing but forwarded."""
    await judged(store, row(ONE))
    _, feedback = made(store, now=lambda: NOW)
    raw = b"From: ann@far.example\nSubject: your spammer\n\nMessage-ID: <one@example.com>\nFrom: joe@example.com\n"

    taken = await feedback.take_mail(raw, complaint=arf.by_hand(read_report(raw)))

    assert (taken.what, taken.account, taken.counted) == ("complaint", JOE, 1)


async def test_what_says_nothing_is_said_to_say_nothing(store):
    """Ordinary mail, automatic answers, and complaints about somebody else's mail."""
    _, feedback = made(store, now=lambda: NOW)

    assert (await feedback.take_mail(b"From: a@b.example\nSubject: hi\n\nhi")).what == "unknown"
    assert (
        await feedback.take_mail(b"From: a@b.example\nSubject: x\nAuto-Submitted: auto-replied\n\nx")
    ).what == "auto-reply"
    assert (await feedback.take_mail(complaint("Message-ID: <other@far.example>"))).account == ""


async def test_a_store_that_is_away_is_waited_for(store, monkeypatch):
    """Nothing of a log is left out while the store cannot take it."""
    monkeypatch.setattr("penstock.workers.feedback._RETRY_S", 0.0)
    pipeline, feedback = made(store, now=lambda: NOW)
    await judged(store, row(ONE))
    absorb, troubles = pipeline.absorb, [StoreUnavailable("away")] * 3

    async def shaky(event):
        if troubles:
            raise troubles.pop()
        return await absorb(event)

    pipeline.absorb = shaky
    await feedback.take_block(b"".join(bounced(n) for n in range(5)), Reader(postfix))

    assert await bounces(store) == 5


async def test_killed_at_random_every_event_counts_once(tmp_path):
    """The log grows and is rotated while its reader is killed again and again; `make kill-drill` kills fifty times."""
    rng, log, path = random.Random(7), tmp_path / "mail.log", tmp_path / "s.sqlite"
    store = SqliteStore(path)
    await store.open()
    await judged(store, row(ONE))
    log.write_bytes(bounced(1))
    written = 1

    for _ in range(KILLS):
        process = await started(path, log)
        ends_at = time.monotonic() + rng.uniform(0.0, 0.5)
        while time.monotonic() < ends_at:
            numbers = range(written + 1, written + rng.randint(2, 12))
            with log.open("ab") as file:
                file.writelines(map(bounced, numbers))
            written = numbers[-1]
            if rng.random() < 0.1:
                log.rename(tmp_path / f"mail.log.{written}")
            await asyncio.sleep(0.02)
        process.kill()
        process.wait()
    process = await started(path, log)
    deadline = time.monotonic() + 120
    while await taken(store) < written and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    process.kill()
    process.wait()

    assert await taken(store) == written
    assert await bounces(store) == written
    await store.close()


async def started(path, log):
    """A reader that is about to read."""
    command = [sys.executable, "-m", "tests.workers.follower", str(path), str(log)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
    return process


async def taken(store):
    """How many keys of events the store holds."""
    return await store._ask(lambda at: at.execute("SELECT count(*) FROM state WHERE key LIKE 'e:%'").fetchone()[0])
