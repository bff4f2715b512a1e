"""A replay counts leak, containment and false alarms as docs/evaluation/accounts.md defines them."""

from pathlib import Path

import pytest
from stage import Told, decide, message, write_trace

from penstock.evaluation.accounts import evaluate, rate, report, spread
from penstock.evaluation.replay import Replay, submission_of
from penstock.evaluation.tables import comparison, curve_table, table
from penstock.evaluation.trace import MessageSent, Trace
from penstock.model import Account, Action, Standing


def abuse(t: float, id: str, **changes: object) -> dict[str, object]:
    return message(t, id, truth="abuse", model="A1", campaign="c1", **changes)


async def test_leak_counts_what_left_and_containment_what_did_not(tmp_path: Path) -> None:
    """Three of ten messages left, so three leaked, and the campaign was contained when the fourth came."""
    events = [abuse(100.0 + i, f"m{i}", rcpt_to=["a@y.example", "b@y.example"]) for i in range(10)]
    judge = Told(lambda s: decide(s, Action.ACCEPT if s.received_at < 103 else Action.HOLD, nats=4.0))

    found = (await evaluate(Trace(write_trace(tmp_path, events)), judge, threshold_nats=12)).attacks["A1"]

    assert (found.campaigns, found.messages, found.contained_share) == (1, 10, 1.0)
    assert (found.leaked_messages.median, found.leaked_recipients.max) == (3, 6)
    assert found.seconds_to_containment is not None
    assert found.seconds_to_containment.median == 3.0
    assert (found.nats_per_message, found.bound_messages, found.leak_to_bound) == (4.0, 3.0, 1.0)


async def test_a_campaign_whose_end_leaves_is_not_contained(tmp_path: Path) -> None:
    """Stopping the middle of a campaign is not containment."""
    events = [abuse(100.0 + i, f"m{i}") for i in range(10)]
    judge = Told(lambda s: decide(s, Action.HOLD if s.received_at < 109 else Action.ACCEPT))

    found = (await evaluate(Trace(write_trace(tmp_path, events)), judge)).attacks["A1"]

    assert found.contained_share == 0.0
    assert found.seconds_to_containment is None


async def test_a_throttled_message_is_tried_again_and_leaks_late(tmp_path: Path) -> None:
    """What is accepted at its second try has left, and an owner's has been late by five minutes, which is no delay."""
    events = [abuse(100.0, "m1"), message(200.0, "m2", account="sasl:ann@x.example"), message(5000.0, "m3")]
    judge = Told(lambda s: decide(s, Action.THROTTLE if s.received_at in (100.0, 200.0) else Action.ACCEPT))

    found = await evaluate(Trace(write_trace(tmp_path, events)), judge)

    assert found.attacks["A1"].leaked_messages.max == 1
    assert found.owners["all"].delayed_or_refused_per_10000 == 0
    assert [s.received_at for s in judge.judged] == [100.0, 200.0, 400.0, 500.0, 5000.0]


async def test_a_message_throttled_for_ever_is_refused(tmp_path: Path) -> None:
    """After four hours the sending side gives up."""
    judge = Told(lambda s: decide(s, Action.THROTTLE))

    found = await evaluate(Trace(write_trace(tmp_path, [message(0.0, "m1")])), judge)

    assert found.owners["all"].delayed_or_refused_per_10000 == 10_000
    assert len(judge.judged) == 7


async def test_what_comes_back_needs_a_message_that_left(tmp_path: Path) -> None:
    """Bounces of held mail never happen; those of late mail come later by as much."""
    bounce = {"type": "delivery", "rcpt": "ann@y.example", "status": "bounced", "reply": "550 5.1.1 unknown"}
    events = [
        message(100.0, "held"),
        message(101.0, "late"),
        bounce | {"t": 110.0, "id": "held"},
        bounce | {"t": 111.0, "id": "late"},
    ]
    held = {100.0: Action.HOLD, 101.0: Action.THROTTLE}
    judge = Told(lambda s: decide(s, held.get(s.received_at, Action.ACCEPT)))

    await evaluate(Trace(write_trace(tmp_path, events)), judge)

    assert [(e.at, e.what, e.account, e.recipient) for e in judge.absorbed] == [
        (411.0, "bounced", "sasl:joe@x.example", "ann@y.example")
    ]


async def test_a_false_suspension_counts_once_and_the_operator_undoes_it(tmp_path: Path) -> None:
    """One suspension of a good owner is one, with an operator's password change four hours later."""
    events = [message(100.0 + i, f"m{i}") for i in range(3)] + [message(90_000.0, "last")]
    judge = Told(
        lambda s: decide(s, Action.REJECT, Standing.SUSPENDED, 1.0) if s.received_at < 9e4 else decide(s, Action.ACCEPT)
    )

    found = await evaluate(Trace(write_trace(tmp_path, events)), judge)

    assert found.owners["ordinary"].false_suspensions.count == 1
    assert found.owners["ordinary"].delayed_or_refused_per_10000 == 7500
    assert found.false_suspension_reasons == (("sasl:joe@x.example", "ordinary", "content"),)
    assert [(e.at, e.what) for e in judge.absorbed] == [(100.0 + 4 * 3600, "password-changed")]


async def test_an_owner_under_attack_is_no_false_alarm(tmp_path: Path) -> None:
    """Suspending a hijacked account is right, and what its owner sends meanwhile is counted apart."""
    events = [
        abuse(100.0, "m1"),
        message(101.0, "m2"),
        {"t": 102.0, "type": "password", "account": "sasl:joe@x.example"},
    ]
    judge = Told(lambda s: decide(s, Action.REJECT, Standing.SUSPENDED))

    found = await evaluate(Trace(write_trace(tmp_path, events)), judge)

    assert found.owners["all"].false_suspensions.count == 0
    assert found.owners["all"].messages == 0
    assert found.owner_messages_stopped_in_incidents == 1
    assert found.attacks["A1"].suspended_share == 1.0


async def test_hard_negatives_have_rows_of_their_own(tmp_path: Path) -> None:
    """Holds of a newsletter a minute apart are one incident, and stand in the newsletter's row."""
    events = [message(60.0 * i, f"m{i}", model="N2") for i in range(5)] + [
        message(400.0, "m9", account="sasl:b@x.example")
    ]
    judge = Told(lambda s: decide(s, Action.HOLD if "joe" in s.connection.login else Action.ACCEPT))

    found = (await evaluate(Trace(write_trace(tmp_path, events)), judge)).owners

    assert list(found) == ["all", "ordinary", "N2"]
    assert (found["N2"].false_holds.count, found["N2"].held_messages) == (1, 5)
    assert found["ordinary"].false_holds.count == 0


async def test_the_first_days_can_be_left_out(tmp_path: Path) -> None:
    """Burn-in is judged and not counted."""
    events = [message(0.0, "m1"), message(86400.0 * 3, "m2")]
    judge = Told(lambda s: decide(s, Action.ACCEPT))

    found = await evaluate(Trace(write_trace(tmp_path, events)), judge, burn_in_days=2)

    assert (found.messages, len(judge.judged)) == (1, 2)


async def test_reports_print(tmp_path: Path) -> None:
    """Both tables name every model and class."""
    trace = Trace(
        write_trace(tmp_path, [abuse(100.0, "m1"), message(101.0, "m2", account="sasl:b@x.example", model="N7")])
    )
    found = report(await Replay(trace, Told(lambda s: decide(s, Action.ACCEPT))).run(), "stub")

    assert "| A1 | 1 | 0% |" in table(found)
    assert "| N7 | 1 |" in table(found)
    assert "| stub | 1 (0%) |" in comparison([found])


async def test_the_curve_shows_other_thresholds(tmp_path: Path) -> None:
    """Scores of 5 and 9 leak one message at h = 8 and none at h = 4, where the owner's score of 4 is a false alarm."""
    events = [message(50.0, "m0", account="sasl:b@x.example"), abuse(100.0, "m1"), abuse(101.0, "m2")]
    scores = {50.0: 4.0, 100.0: 5.0, 101.0: 9.0}
    judge = Told(lambda s: decide(s, Action.ACCEPT, nats=scores[s.received_at]))

    found = await evaluate(Trace(write_trace(tmp_path, events)), judge)
    points = {point.threshold_nats: point for point in found.curve}

    assert (points[4.0].leaked_messages, points[8.0].leaked_messages) == ({"A1": 0}, {"A1": 1})
    assert points[4.0].false_alarms_per_account_year > 0 == points[6.0].false_alarms_per_account_year
    assert curve_table(found).count("\n") == 2 + len(found.curve)


async def test_what_was_stopped_names_its_evidence(tmp_path: Path) -> None:
    """The report says which evidence spoke against a campaign and against an owner."""
    events = [abuse(100.0, "m1"), message(101.0, "m2", account="sasl:b@x.example")]
    judge = Told(lambda s: decide(s, Action.HOLD, nats=2.0))

    found = await evaluate(Trace(write_trace(tmp_path, events)), judge)

    assert found.attacks["A1"].named == {"content": 1.0}
    assert found.owners["ordinary"].named == {"content": 1.0}
    assert "| ordinary | content 100% |" in table(found)


def test_nothing_that_the_judge_sees_names_the_truth() -> None:
    """A submission of an abuse message and of a legitimate one differ in nothing."""
    good = MessageSent(1.0, "m1", "script:web12/home/x/mail.php", "a@b.example", ("c@d.example",), "m", "legit")
    bad = MessageSent(1.0, "m1", good.account, good.mail_from, good.rcpt_to, "m", "abuse", model="A7", campaign="c")

    assert submission_of(good, b"\r\n", 1.0) == submission_of(bad, b"\r\n", 1.0)
    assert submission_of(good, b"\r\n", 1.0).connection.login == ""
    assert Account.parse(good.account).kind == "script"


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.02532, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.6)]
)
def test_intervals_are_the_published_exact_ones(count: int, low: float, high: float) -> None:
    """Garwood's table, 95 %."""
    found = rate(count, 1.0)

    assert found.low == pytest.approx(low, rel=2e-3)
    assert found.high == pytest.approx(high, rel=2e-3)


def test_spread_uses_the_nearest_rank() -> None:
    """The 95th percentile of twenty values is the nineteenth."""
    assert spread(list(range(1, 21))) == spread(list(range(20, 0, -1)))
    assert (spread(list(range(1, 21))).p95, spread([7]).max) == (19, 7)
