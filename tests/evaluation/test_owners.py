"""Owners are cut into windows at Mondays, and halves never share an owner or a campaign."""

from pathlib import Path

import pytest

from penstock.evaluation.corpus import corpus_folder
from penstock.evaluation.letters import Letter
from penstock.evaluation.owners import (
    FEWEST_LETTERS,
    campaign_name,
    cut_windows,
    half_of,
    read_corpus,
    read_mailboxes,
    split_mbox,
)

DAY = 86400.0


def letter(at: float, sender: str = "joe@x.example") -> Letter:
    return Letter(at, "joe", "Joe", sender, ("ann@y.example",), "s", "t", message_id=str(at))


def message(day: int, subject: str = "s") -> str:
    return (
        f"From: Joe <joe@x.example>\nTo: ann@y.example\nSubject: {subject}\n"
        f"Date: {day:02d} Jan 2026 10:00:00 +0000\n\nHello\n"
    )


def test_windows_begin_on_mondays_and_thin_ones_are_left_out() -> None:
    """Twelve letters in two months and three in the next make one window of the first."""
    letters = [letter(10_000 * DAY + n * 5 * DAY) for n in range(12)] + [letter(10_065 * DAY + n) for n in range(3)]

    (window,) = cut_windows("joe", letters, 60)

    assert len(window.letters) == 12
    assert (window.began / DAY - 4) % 7 == 0
    assert 0 <= window.letters[0].at - window.began < 7 * DAY


def test_only_the_usual_sender_counts() -> None:
    """A secretary's letters in a mailbox are not its owner's."""
    letters = [letter(10_000 * DAY + n) for n in range(9)] + [letter(10_000 * DAY + n, "b@x.example") for n in range(5)]

    (window,) = cut_windows("joe", letters, 60)

    assert {one.sender for one in window.letters} == {"joe@x.example"}


def test_near_copies_are_one_campaign() -> None:
    """Answer marks, numbers and case do not make another campaign."""
    assert campaign_name("RE: Fwd: YOU won 1,000,000!") == campaign_name("You WON 2")
    assert {half_of(str(n)) for n in range(20)} == {"tune", "report"}


def test_mailboxes_of_a_person_are_read(tmp_path: Path) -> None:
    """An mbox and a Maildir are an owner each."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    (good / "ann" / "cur").mkdir(parents=True)
    bad.mkdir()
    (good / "joe.mbox").write_text("".join(f"From x y\n{message(day)}>From here\n\n" for day in range(5, 15)))
    for day in range(5, 15):
        (good / "ann" / "cur" / str(day)).write_text(message(day))
    (bad / "spam.mbox").write_text(f"From x y\n{message(5, 'win 1')}\n\nFrom x y\n{message(6, 'win 2')}\n")

    mail = read_mailboxes(good, bad, days=60)

    assert {(window.owner, len(window.letters)) for window in mail.windows} == {("joe", 10), ("ann", 10)}
    assert len(mail.abuse) == 1
    assert "\nFrom here" in next(w for w in mail.windows if w.owner == "joe").letters[0].plain


def test_an_mbox_is_split_only_at_its_from_lines() -> None:
    """A From line needs an empty line before it."""
    assert split_mbox(b"From a\nx: y\n\nFrom me\n\nFrom b\nz\n") == [b"x: y\n\n", b"\n", b"z\n"]
    assert split_mbox(b"From a\nx\nFrom me\n") == [b"x\nFrom me\n"]
    assert split_mbox(b"") == []


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    """The error says which folder holds nothing."""
    with pytest.raises(FileNotFoundError, match="enron"):
        read_corpus(tmp_path, days=60)
    with pytest.raises(FileNotFoundError, match="mailboxes"):
        read_mailboxes(tmp_path / "none", tmp_path, days=60)


def test_the_corpus_has_two_halves_without_common_owners() -> None:
    """Owners, campaigns and newsletters of the reporting half are not in the other."""
    report = read_corpus(corpus_folder(), days=60, half="report")

    assert len(report.windows) > 200
    assert len(report.abuse) > 500
    assert all(half_of(window.owner) == "report" for window in report.windows)
    assert all(half_of(campaign_name(one.subject_line) or one.message_id) == "report" for one in report.abuse)
    assert min(len(window.letters) for window in report.windows) >= FEWEST_LETTERS
