"""Traces that are made are valid, the same again, and hold every attack model and hard negative."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from penstock.evaluation.letters import Letter
from penstock.evaluation.make_trace import Made, Wanted, make_trace
from penstock.evaluation.owners import Mail, Window
from penstock.evaluation.trace import DeliverySeen, LoginSeen, MessageSent, PasswordChanged, Trace

DAY = 86400.0
SMALL = Wanted(accounts=60, days=60, campaigns=2, snowshoe_accounts=10, hard_negatives=2, seed=7)


def small_mail() -> Mail:
    def letter(at: float, who: str, text: str) -> Letter:
        to = tuple(f"{who}{n}@y.example" for n in range(3 + int(at) % 9))
        return Letter(
            at,
            who,
            who,
            f"{who}@x.example",
            to,
            f"about {text}",
            f"{text}. See http://h.example/a/b now.",
            message_id=f"<{at}>",
        )

    def window(who: str, at: float) -> Window:
        return Window(who, 4 * DAY, tuple(letter(at + k * 1.5 * DAY, who, f"work {k}") for k in range(40)))

    windows = tuple(window(f"o{n}", 4 * DAY + n * 60) for n in range(40))
    abuse = tuple(letter(1e9 + n, f"bad{n}", f"win {n}") for n in range(20))
    return Mail(windows, abuse, abuse[:0], tuple(letter(9e8 + n, "else", f"other {n}") for n in range(30)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    folder = tmp_path_factory.mktemp("trace") / "one"
    return folder, make_trace(small_mail(), folder, SMALL)


def test_the_trace_is_valid_and_complete(made: tuple[Path, Made]) -> None:
    """Every event passes the strict reader, and every model is there as often as it was asked for."""
    folder, said = made
    events = list(Trace(folder).events())
    campaigns = defaultdict(set)
    for event in events:
        if isinstance(event, MessageSent) and event.truth == "abuse":
            campaigns[event.model].add(event.campaign)
    models = {event.model for event in events if isinstance(event, MessageSent)}

    assert len(events) == said.events
    assert said.windows_used_twice == 20
    assert {model: len(names) for model, names in campaigns.items()} == {
        f"A{n}": 1 if n == 4 else 2 for n in range(1, 11)
    }
    assert models >= {None, "P3", "P5", *(f"N{n}" for n in range(1, 12))}


def test_attacks_come_after_a_time_of_peace_and_end_with_a_new_password(made: tuple[Path, Made]) -> None:
    """No abuse in the first third, and each attacked account gets its password changed afterwards."""
    events = list(Trace(made[0]).events())
    began = events[0].t
    abuse = [event for event in events if isinstance(event, MessageSent) and event.truth == "abuse"]
    last = {event.account: event.t for event in abuse}
    changed = {event.account: event.t for event in events if isinstance(event, PasswordChanged)}

    assert min(event.t for event in abuse) > began + 15 * DAY
    assert all(changed[account] > t for account, t in last.items())


def test_rates_are_the_published_ones(made: tuple[Path, Made]) -> None:
    """A1 sends 1.8 a second with a third unknown, A2 some 170 recipients a message."""
    events = list(Trace(made[0]).events())
    first = [event for event in events if isinstance(event, MessageSent) and event.model == "A1"]
    ids = {event.id for event in first}
    status = Counter(event.status for event in events if isinstance(event, DeliverySeen) and event.id in ids)
    by_campaign = defaultdict(list)
    for event in first:
        by_campaign[event.campaign].append(event.t)
    seconds = [max(times) - min(times) for times in by_campaign.values()]
    many = [len(e.rcpt_to) for e in events if isinstance(e, MessageSent) and e.model == "A2"]

    assert 0.3 < status["bounced"] / sum(status.values()) < 0.45
    assert all(120 < one < 230 for one in seconds)
    assert 150 <= min(many) <= max(many) <= 190


def test_hijackers_come_from_elsewhere_but_insiders_do_not(made: tuple[Path, Made]) -> None:
    """A blast comes from a network that is not its owner's, after a login; mimicry from the owner's own."""
    events = list(Trace(made[0]).events())
    owners = defaultdict(set)
    for event in events:
        if isinstance(event, MessageSent) and event.truth == "legit":
            owners[event.account].add(event.source.ip)
    abuse = [event for event in events if isinstance(event, MessageSent) and event.truth == "abuse"]
    logins = {(event.account, event.source.ip) for event in events if isinstance(event, LoginSeen)}

    assert all(e.source.ip not in owners[e.account] for e in abuse if e.model == "A1")
    assert all((e.account, e.source.ip) in logins for e in abuse if e.model == "A1")
    assert all(e.source.ip in owners[e.account] for e in abuse if e.model == "A10")


def test_the_same_seed_makes_the_same_trace(made: tuple[Path, Made], tmp_path: Path) -> None:
    """Byte for byte; another seed makes another."""
    make_trace(small_mail(), tmp_path / "same", SMALL)
    make_trace(small_mail(), tmp_path / "other", Wanted(60, 60, 2, 10, 2, seed=8))
    first = (made[0] / "events.jsonl").read_bytes()

    assert (tmp_path / "same" / "events.jsonl").read_bytes() == first
    assert (tmp_path / "other" / "events.jsonl").read_bytes() != first


def test_what_cannot_be_made_is_said(made: tuple[Path, Made], tmp_path: Path) -> None:
    """An occupied folder, mail without abuse, and too few accounts have errors of their own."""
    mail = small_mail()
    with pytest.raises(FileExistsError):
        make_trace(mail, made[0], SMALL)
    with pytest.raises(ValueError, match="abuse"):
        make_trace(Mail(mail.windows, (), (), ()), tmp_path, SMALL)
    with pytest.raises(ValueError, match="hard negatives need"):
        make_trace(mail, tmp_path, Wanted(accounts=20))
