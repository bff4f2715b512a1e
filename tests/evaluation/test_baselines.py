"""Each baseline does what its maker says it does, no more and no less."""

from pathlib import Path

import pytest
from stage import message, write_trace
from tests.neighbours.scanners import GTUBE

from penstock.evaluation.accounts import AccountsReport
from penstock.evaluation.baselines import (
    ContentAlone,
    InvalidRecipients,
    Limit,
    Locking,
    RelayLock,
    Remembered,
    Rule,
    Share,
    SpamCount,
    Spot,
    Surge,
    Window,
    evaluate_baselines,
    read_scores,
    rules,
    score_of_installed_rspamd,
)
from penstock.evaluation.replay import Replay, Replayed, account_of, submission_of
from penstock.evaluation.rspamd import ADD_HEADER_AT, REJECT_AT
from penstock.evaluation.tables import comparison
from penstock.evaluation.trace import MessageSent, Trace
from penstock.model import Action, Submission


def bad(submission: Submission) -> float:
    """Everything is spam."""
    return 9.0


def good(submission: Submission) -> float:
    """Nothing is spam."""
    return -9.0


async def run(folder: Path, rule: Rule, events: list[dict[str, object]]) -> Replayed:
    return await Replay(Trace(write_trace(folder, events)), Locking(rule)).run()


async def test_a_message_limit_lets_a_hundred_through_and_opens_again(tmp_path: Path) -> None:
    """The hundred and first message in an hour waits; it leaves once the hour is over."""
    found = await run(tmp_path, Limit("l", Window(3600.0), 100), [message(1000.0 + n, f"m{n}") for n in range(101)])

    last = found.outcomes[100]
    assert [one.action for one in found.outcomes[:100]] == [Action.ACCEPT] * 100
    assert last.action is Action.THROTTLE
    assert last.left_at == 1100.0 + 3600.0
    assert found.suspensions == ()


async def test_a_recipient_limit_counts_recipients(tmp_path: Path) -> None:
    """Two messages to three hundred are over five hundred a day; a limit on messages is blind to them."""
    crowd = [f"r{n}@y.example" for n in range(300)]
    events = [message(1.0, "m1", rcpt_to=crowd), message(2.0, "m2", rcpt_to=crowd)]

    found = await run(tmp_path, Limit("l", Window(86400.0), 500, True), events)

    assert [one.action for one in found.outcomes] == [Action.ACCEPT, Action.THROTTLE]


async def test_five_spam_in_ten_minutes_lock(tmp_path: Path) -> None:
    """All five are stopped and the fifth locks; five in an hour do not."""
    fast = await run(
        tmp_path / "fast", SpamCount("s", bad, Window(600.0)), [message(n * 60.0, f"m{n}") for n in range(5)]
    )
    slow = await run(
        tmp_path / "slow", SpamCount("s", bad, Window(600.0)), [message(n * 720.0, f"m{n}") for n in range(5)]
    )

    assert [one.action for one in fast.outcomes] == [Action.HOLD] * 4 + [Action.REJECT]
    assert (len(fast.suspensions), len(slow.suspensions)) == (1, 0)


async def test_a_hundred_unknown_recipients_lock(tmp_path: Path) -> None:
    """BlockCracking reads bounces, and a message that never left has none."""
    events: list[dict[str, object]] = []
    for n in range(100):
        events.append(message(float(n), f"m{n}"))
        events.append({"t": float(n), "type": "delivery", "id": f"m{n}", "rcpt": "a@b", "status": "bounced"})
    events.append(message(200.0, "last"))

    found = await run(tmp_path, InvalidRecipients("i", Window(3600.0)), events)

    assert [one.action for one in found.outcomes].count(Action.ACCEPT) == 100
    assert found.outcomes[-1].was_suspended


async def test_csf_locks_the_hundred_and_first(tmp_path: Path) -> None:
    """A lock, unlike a limit, lasts."""
    found = await run(tmp_path, RelayLock("c", Window(3600.0)), [message(float(n), f"m{n}") for n in range(102)])

    assert [one.t for one in found.suspensions] == [100.0]


async def test_spot_needs_four_spam_in_a_row(tmp_path: Path) -> None:
    """With its published parameters, ln 99 / ln 4.5 = 3.06 messages; ham begins the test anew."""
    spam = await run(tmp_path / "s", Spot("s", bad, {}), [message(float(n), f"m{n}") for n in range(5)])
    ham = await run(tmp_path / "h", Spot("s", good, {}), [message(float(n), f"m{n}") for n in range(50)])

    assert [one.t for one in spam.suspensions] == [3.0]
    assert ham.suspensions == ()


async def test_a_share_needs_enough_messages(tmp_path: Path) -> None:
    """Five messages say nothing, the sixth spam of six does."""
    found = await run(
        tmp_path, Share("p", bad, Window(3600.0), Window(3600.0)), [message(float(n), f"m{n}") for n in range(6)]
    )

    assert [one.t for one in found.suspensions] == [5.0]


async def test_content_alone_never_locks(tmp_path: Path) -> None:
    """Each message is stopped by itself."""
    found = await run(tmp_path, ContentAlone("c", bad), [message(float(n), f"m{n}") for n in range(9)])

    assert {one.action for one in found.outcomes} == {Action.HOLD}
    assert found.suspensions == ()


async def test_a_surge_is_measured_against_the_own_past(tmp_path: Path) -> None:
    """Who always writes to few may not write to two hundred; fifty are free for everybody."""
    crowd = [f"r{n}@y.example" for n in range(200)]
    calm = [message(n * 3600.0, f"m{n}") for n in range(100)]

    found = await run(
        tmp_path,
        Surge("z", Window(3600.0), {}),
        [*calm, message(4e5, "m", rcpt_to=crowd), message(4e5, "n", rcpt_to=crowd[:40])],
    )

    assert [one.action for one in found.outcomes[-2:]] == [Action.THROTTLE, Action.ACCEPT]


async def test_all_baselines_are_compared_in_one_table(tmp_path: Path) -> None:
    """Every rule has its line, and content is scored once a message."""
    asked: list[str] = []

    def score(submission: Submission) -> float:
        asked.append(submission.queue_id)
        return 0.0

    events = [message(1.0, "m1"), message(2.0, "m2", truth="abuse", model="A1", campaign="c")]
    reports = await evaluate_baselines(Trace(write_trace(tmp_path, events)), score)

    assert [one.judge for one in reports] == [one.name for one in rules(score)]
    assert asked == ["m1", "m2"]
    assert comparison(reports).count("\n") == len(reports) + 2
    assert all(isinstance(one, AccountsReport) for one in reports)


@pytest.mark.parametrize("account", ["sasl:joe@x.example", "script:web1/home/x/mail.php", "host:192.0.2.1"])
def test_a_submission_names_its_account(account: str) -> None:
    """Logins stand in the connection, everything else in the header of a trusted host."""
    sent = MessageSent(1.0, "m1", account, "a@b.example", ("c@d.example",), "m", "legit")

    assert account_of(submission_of(sent, b"From: x\r\n\r\n", 1.0)) == account


def test_a_score_is_remembered_by_message() -> None:
    """Another message has another score."""
    sent = MessageSent(1.0, "m1", "sasl:a@b", "a@b.example", ("c@d.example",), "m", "legit")
    scores = iter([1.0, 2.0])
    score = Remembered(lambda _: next(scores))
    first = submission_of(sent, b"\r\n", 1.0)

    assert [score(first), score(first)] == [1.0, 1.0]


async def test_the_installed_rspamd_is_asked_about_every_message(tmp_path: Path) -> None:
    """A real one, without network: the test string for spam is worth a refusal, a letter nothing."""
    trace = Trace(write_trace(tmp_path, [message(1.0, "m1"), message(2.0, "m2", file="msgs/spam.eml")]))
    spam = f"From: a@x.example\r\nTo: b@y.example\r\nSubject: hi\r\n\r\n{GTUBE.decode()}\r\n"
    (tmp_path / "msgs" / "spam.eml").write_text(spam)
    told: list[str] = []

    score = score_of_installed_rspamd(trace, progress=told.append)
    assert score is not None
    letter, gtube = (
        score(submission_of(event, b"", event.t)) for event in trace.events() if isinstance(event, MessageSent)
    )
    reports = await evaluate_baselines(trace, good, rspamd=score)

    assert letter < ADD_HEADER_AT
    assert gtube >= REJECT_AT
    assert {"rspamd's score alone, from 6", "rspamd's score alone, from 15"} <= {one.judge for one in reports}


async def test_scores_of_another_filter_are_read(tmp_path: Path) -> None:
    """A file of scores makes one more line; a wrong line is named."""
    scores = tmp_path / "scores.jsonl"
    scores.write_text('{"id": "m1", "score": 7.5}\n')
    trace = Trace(write_trace(tmp_path, [message(1.0, "m1"), message(2.0, "m2")]))

    reports = await evaluate_baselines(trace, good, rspamd=read_scores(scores))

    assert reports[-2].judge == "rspamd's score alone, from 6"
    assert reports[-2].owners["all"].held_messages == 1
    scores.write_text('{"id": "m1"}\n')
    with pytest.raises(ValueError, match=r"scores\.jsonl:1"):
        read_scores(scores)
