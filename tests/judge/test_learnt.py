"""What examples teach: siblings follow, strangers do not, nobody moves much, and what is undone has never been."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.examples import Example, Lesson
from penstock.judge.learnt import Bounds, Learnt, Taught, untaught
from penstock.judge.message import parse
from penstock.judge.traits import Traits, traits
from penstock.model import Envelope, Evidence, Kind, Verdict

NOW = 1_800_000_000.0
WORDS = [
    a + b for a in ("garden", "window", "summer", "market", "letter", "silver") for b in ("er", "ing", "ful", "s", "ly")
]
ENVELOPE = Envelope("a@example.com", ("b@example.org",))


def text(seed, count=120):
    return " ".join(Random(seed).choices(WORDS, k=count))


def mail(body, subject="hello", head=""):
    return f"From: a@example.com\r\nSubject: {subject}\r\n{head}\r\n{body}\r\n".encode()


def newsletter(number):
    """One shop's: a frame that stays and news that change."""
    frame = "You receive this newsletter because you ordered at our flower shop in the old town last year."
    foot = "To change your address or to leave the list write to the flower shop, we answer within a working day."
    return mail(
        f"{frame}\r\n{text(number, 30)}\r\n{foot}\r\nhttps://flowers.example/shop/{number}\r\n", f"News {number}"
    )


def found(raw):
    return traits(parse(raw))


def example(raw, number=0, **more):
    given = {
        "id": f"e{number}", "at": NOW, "who": "ann", "is_abuse": False, "account": "sasl:joe@example.com",
        "tenant": "example.com", "origin": "file", "digest": f"d{number}", "format": 1, "log_odds": 5.0,
    } | more  # fmt: skip
    return Lesson(Example(**given), found(raw).pack())


def learnt(*lessons, **bounds):
    return Learnt(Bounds(**bounds)).teach_all(lessons)


def test_a_few_corrections_turn_the_siblings():
    """Two newsletters of one shop judged legitimate, and its next ones lose more than two nats each."""
    taught = learnt(*(example(newsletter(number), number) for number in range(2)))

    assert all(taught.nats(found(newsletter(number))) < -2.0 for number in range(10, 30))
    assert all(abs(taught.nats(found(mail(text(number))))) < 0.1 for number in range(30, 50))


def test_an_example_moves_its_own_message_towards_its_label():
    """Abuse up, legitimate down; what is right already stays."""
    raw = newsletter(1)

    assert 2.0 < learnt(example(raw, is_abuse=True, log_odds=-1.0)).nats(found(raw)) <= 4.0
    assert -4.0 <= learnt(example(raw)).nats(found(raw)) < -2.0
    assert learnt(example(raw, log_odds=-30.0)).examples == 0


@pytest.mark.parametrize("is_abuse", [True, False])
@pytest.mark.parametrize(("tenants", "bound"), [(1, 8.0), (2, 16.0)])
def test_a_thousand_poisoned_examples_of_one_account_are_bounded(is_abuse, tenants, bound):
    """Even mail that is made of nothing but what ordinary mail says moves it by no more than an account may."""
    victim = mail(text(1, 300))
    pieces = victim.split()
    lessons = []
    for number in range(1000):
        start = Random(number).randrange(len(pieces) - 40)
        raw = mail(b" ".join(pieces[start : start + 40]).decode())
        account, odds = f"sasl:{number % tenants}@x", -9.0 if is_abuse else 9.0
        lessons.append(example(raw, number, is_abuse=is_abuse, log_odds=odds, account=account, tenant="x"))
    taught = learnt(*lessons)

    assert 0.5 < abs(taught.nats(found(victim))) <= bound
    assert taught.examples < 10 * tenants


def test_a_tenant_and_a_day_have_bounds_too():
    """Copies of one text from a hundred accounts of a tenant add up to the tenant's bound, from many to the day's."""
    raw = newsletter(1)
    copies = [example(raw, n, is_abuse=True, log_odds=-999.0, account=f"sasl:{n}@x") for n in range(100)]
    strangers = [replace(one, example=replace(one.example, tenant=one.example.account)) for one in copies]

    assert learnt(*copies, most=1e9).nats(found(raw)) == pytest.approx(24.0, abs=0.01)
    assert learnt(*strangers, most=1e9).nats(found(raw)) == pytest.approx(400.0, abs=0.1)
    assert learnt(*strangers).nats(found(raw)) == 10.0


def test_weak_examples_use_their_share_of_each_bound():
    """A thousand complaints about one account's mail weigh a quarter of what people may say."""
    raw = newsletter(1)
    complaints = [example(raw, n, is_abuse=True, log_odds=-9.0, weight=0.25) for n in range(1000)]

    assert learnt(*complaints).nats(found(raw)) == pytest.approx(2.0, abs=0.03)


def test_what_is_left_out_has_never_been():
    """Without the poisoned examples the scorer is the same to the last bit; without any, nothing is said."""
    good = [example(newsletter(number), number, account=f"sasl:{number}@x") for number in range(5)]
    bad = [example(mail(text(n)), 100 + n, is_abuse=True, log_odds=-9.0) for n in range(50)]
    probes = [newsletter(50), mail(text(3)), mail(text(99))]
    clean, undone = learnt(*good), learnt(*[one for one in good + bad if one not in bad])
    both = learnt(*good, *bad)

    assert [clean.nats(found(one)) for one in probes] == [undone.nats(found(one)) for one in probes]
    assert both.nats(found(probes[1])) != clean.nats(found(probes[1]))
    assert learnt().nats(found(probes[0])) == 0.0


def test_a_copy_goes_on_by_itself():
    """What a running process judges by does not change under its feet."""
    first = learnt(example(newsletter(1)))
    before = first.nats(found(newsletter(2)))
    second = first.copy()
    second.teach(example(newsletter(3), 3))

    assert first.nats(found(newsletter(2))) == before
    assert second.nats(found(newsletter(2))) < before
    assert second.nats(found(newsletter(2))) == learnt(example(newsletter(1)), example(newsletter(3), 3)).nats(
        found(newsletter(2))
    )


class Seed:
    def weigh(self, parsed, raw, envelope):
        return Verdict(5.0, Kind.NORMAL, evidence=(Evidence("word:shop", 4.0), Evidence("rest", 1.0)))


def test_the_verdict_says_what_was_learnt():
    """As a term of its own, so that the sum stays the sum and the shipped model's share can be told."""
    raw = newsletter(1)
    taught = Taught(Seed(), learnt(example(raw)))
    verdict = taught.weigh(parse(raw), raw, ENVELOPE)

    assert verdict.log_odds < 3.0
    assert "learnt" in [one.name for one in verdict.evidence]
    assert math.isclose(sum(one.nats for one in verdict.evidence), verdict.log_odds)
    assert untaught(verdict) == pytest.approx(5.0)
    assert Taught(Seed()).weigh(parse(raw), raw, ENVELOPE).log_odds == 5.0


def test_traits_do_not_know_ids_dates_or_who_sent_it():
    """The same text is the same example; a hijacker who writes in the owner's name shares nothing with him by that."""
    one = found(mail(text(1), head="Message-ID: <1@x>\r\nDate: Mon, 1 Jan 2026 00:00:00 +0000\r\n"))
    other = found(mail(text(1)).replace(b"a@example.com", b"z@elsewhere.example"))

    assert one.digest == other.digest


def test_scripts_without_spaces_have_traits_too():
    """Chinese or Thai mail can be known again."""
    siblings = [found(mail(f"这是我们花店的新闻通讯，感谢您的订购。请联系我们。{'你好世界' * n}")) for n in (1, 2)]

    assert len(siblings[0]) > 10
    assert len(set(siblings[0].runs.tolist()) & set(siblings[1].runs.tolist())) > 8


@given(st.binary(max_size=300))
def test_garbage_is_no_traits(data):
    """What was not written by `pack` is refused, and an example with it teaches nothing."""
    lesson = replace(example(newsletter(1)), traits=data)

    try:
        Traits.unpack(data)
    except ValueError:
        assert Learnt(Bounds()).teach(lesson) == 0.0


@given(st.text(max_size=500), st.text(max_size=50))
def test_any_message_has_traits_that_come_back(body, subject):
    """Packing loses nothing, whatever a message says."""
    one = found(mail(body, "x").replace(b"Subject: x", b"Subject: " + subject.encode("utf-8", "replace")))
    back = Traits.unpack(one.pack())

    assert back.digest == one.digest


def test_examples_of_another_format_teach_nothing():
    """After an upgrade that changes the hashes, old examples wait for their end."""
    assert learnt(example(newsletter(1), format=99)).examples == 0
