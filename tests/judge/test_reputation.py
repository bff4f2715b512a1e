"""What is remembered and decided of accounts; stories over time stand in test_timelines.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from life import DAY, POLICY, Life
from msgspec.structs import replace

from penstock.judge import reputation
from penstock.judge.campaigns import CampaignView, Share, observe_campaign
from penstock.judge.evidence import Terms
from penstock.judge.history import AccountState, Slow, SourceState, read_account
from penstock.judge.policy import Policy
from penstock.judge.streams import ABUSE, Stream
from penstock.judge.wishes import close, per_year, standing_signs, wish
from penstock.model import Action, Kind, Standing

GOOD = Life()
GOOD.owner(120)


@pytest.mark.parametrize("seed", range(4))
def test_a_good_customers_year_passes_without_a_hold(seed):
    """Three hundred and sixty days of letters, and the account ends trusted."""
    life = Life(seed)

    found = life.owner(360)

    assert {one.wanted for one in found if one.wanted is Action.HOLD} == set()
    assert found[-1].standing is Standing.TRUSTED
    assert len(life.account or b"") <= 2048


def test_a_huge_cc_is_stopped_at_its_second_message():
    """Recipients are the unit: one hundred and seventy strangers a message."""
    life = Life()
    life.owner(40)
    outcomes = [life.send(life.strangers(170), odds=3.5, source="198.51.100.0/24", text=n) for n in range(5)]

    assert sum(one.wanted is Action.ACCEPT for one in outcomes) <= 2


def test_no_single_message_and_no_single_group_suspends():
    """However bad one message looks, one message and one kind of evidence are not enough."""
    life = Life()
    life.owner(30)
    first = life.send(life.strangers(500), odds=50.0, source="198.51.100.0/24")
    other = Life(2)
    other.owner(30)
    bounced = [other.event("bounced", recipient=f"x{n}@y.example", detail="550 5.1.1 unknown") for n in range(60)]

    assert first.standing is not Standing.SUSPENDED
    assert bounced[-1].standing is not Standing.SUSPENDED


def test_only_recipients_that_never_were_speak_against_the_account():
    """A full mailbox or a blocked address of ours says nothing about whom the account writes to."""
    life = Life()

    for reason in ("mailbox-full", "ip-blocked", "policy", "unclear"):
        assert life.event("bounced", reason=reason).evidence == ()
    for reason in ("unknown-user", "unknown-domain", ""):
        assert life.event("bounced", reason=reason).evidence[0].nats > 0


def test_bounces_and_strangers_together_suspend():
    """A dictionary list with a bland text is known by its unknown users."""
    life = Life()
    life.owner(60)
    for _ in range(80):
        life.now += 2.0
        found = life.send(life.strangers(1), odds=0.5, source="198.51.100.0/24", text=9)
        if found.wanted is Action.ACCEPT and life.rng.random() < 0.4:
            found = life.event("bounced", detail="550 5.1.1 user unknown")
        if found.standing is Standing.SUSPENDED:
            break

    assert found.wanted in (Action.HOLD, Action.REJECT) or found.standing is Standing.SUSPENDED


def test_an_mtas_retry_counts_once():
    """The same message again is no new evidence."""
    life = Life()
    life.owner(20)
    to = life.strangers(1)
    first = life.send(to, odds=3.0, digest=99)
    again = life.send(to, odds=3.0, digest=99)

    assert again.score == first.score
    assert again.messages == first.messages


def test_changed_credentials_give_the_account_back():
    """After the password changed nothing that spoke before counts, at the account or at its sources."""
    life = Life()
    life.owner(30)
    for _ in range(12):
        life.send(life.strangers(1), odds=6.0, source="198.51.100.0/24", text=life.count, client="bot")
    assert read_account(life.account, life.now).standing == "suspended"

    life.now += 60
    life.event("password-changed")
    found = life.send([life.contacts[0]], odds=-3.0)

    assert found.standing is Standing.NORMAL
    assert found.wanted is Action.ACCEPT
    assert life.send([life.contacts[0]], odds=-3.0, source="198.51.100.0/24").wanted is Action.ACCEPT


def test_what_a_thief_sent_is_no_habit_of_the_owners():
    """After three hundred copies to strangers and a new password, the owner's usual shares are what they were."""
    life = Life()
    life.owner(40)
    before = read_account(life.account, life.now)
    for _ in range(300):
        life.send(life.strangers(1), odds=1.0, source="198.51.100.0/24", text=7, client="bot", links=("x.example",))
    life.event("password-changed")
    after = read_account(life.account, life.now)

    assert after.copies.yes <= before.copies.yes + 1.0
    assert after.novelty.yes <= before.novelty.yes + 2.0
    assert not after.places.has("x.example")
    assert after.owners is None


def test_what_something_else_refuses_is_not_learnt():
    """A virus or a limit keeps a message here: its recipients stay unknown, its links new, its text another's."""
    life = Life()
    life.owner(20)
    before = read_account(life.account, life.now)
    refused = life.message(["never@far.example"], 3.0, links=("x.example",))
    asked = []
    found = reputation.observe_message(
        life.account,
        life.sources[refused.source],
        refused,
        (),
        life.policy,
        may_leave=lambda new: bool(asked.append(new)),
    )
    after = read_account(found.account, life.now)

    assert asked == [1]
    assert (after.learnt, after.content, after.novelty, after.bounces) == (
        before.learnt,
        before.content,
        before.novelty,
        before.bounces,
    )
    assert not after.known.has("never@far.example")
    assert after.fresh == before.fresh


def test_what_was_delayed_counts_as_asked_once_it_leaves():
    """A second try that leaves is learnt like a first: bounces are weighed against all who were written to."""
    life = Life()
    for _ in range(50):
        life.send(life.strangers(1), odds=-2.0)
    waits = life.message(life.strangers(1), -2.0)
    assert life.judge(waits).reason == "PS-PROBATION"
    before = read_account(life.account, life.now).bounces.no

    life.now += DAY
    later = replace(waits, now=life.now)

    assert life.judge(later).wanted is Action.ACCEPT
    assert read_account(life.account, life.now).bounces.no > before


def test_forwarded_mail_says_nothing_about_who_forwards_it():
    """However it reads, it neither speaks against the account nor teaches what the account writes."""
    life = Life(account="user:joe")
    for _ in range(30):
        life.now += 3600
        found = life.send(["joe@new.example"], odds=6.0, kind=Kind.FORWARDED)
    own = read_account(life.account, life.now)

    assert found.score == 0.0
    assert found.evidence[0].name == "content"
    assert own.content.no == 0.0
    assert own.centre == 0.0


def test_reasons_are_the_runs_and_add_up():
    """The tenth message of a blast names the new network of the first; all terms together are the score."""
    life = Life()
    life.owner(40)
    for _ in range(10):
        found = life.send(life.strangers(1), odds=4.0, source="198.51.100.0/24", text=7)
        assert sum(term.nats for term in found.evidence) == pytest.approx(found.score, abs=0.02)
    login = next(term for term in found.evidence if term.name == "new-source")

    assert login.carried == login.nats > 1.0
    assert len({term.name for term in found.evidence}) == len(found.evidence)


def test_a_new_account_has_its_probation():
    """On its first day an account reaches its first-time recipients up to the budget, then is told when to go on."""
    life = Life()
    found = []
    for _ in range(80):
        life.now += 60
        found.append(life.send(life.strangers(1), odds=-2.0))
    accepted = sum(one.wanted is Action.ACCEPT for one in found)

    assert accepted == 50
    assert found[-1].reason == "PS-PROBATION"
    assert 0 < found[-1].retry_after_s <= DAY


def test_automatic_mail_without_a_login_never_suspends():
    """Backscatter from the null reverse-path to strangers, many of them unknown."""
    life = Life()
    for _ in range(300):
        life.now += 5
        found = life.send(
            life.strangers(1), odds=1.0, mail_from="", kind=Kind.AUTOMATIC, has_login=False, source="192.0.2.9"
        )
        assert found.standing is not Standing.SUSPENDED

    assert found.standing is Standing.NEW


def test_a_person_suspends_and_releases():
    """What a person set stays until a person takes it back."""
    life = Life()
    life.owner(10)
    life.account = reputation.steer(life.account, Standing.SUSPENDED, life.now, "asked for", forget=False)
    assert life.send([life.contacts[0]]).reason == "PS-SUSPENDED"

    life.account = reputation.steer(life.account, None, life.now, "talked to", forget=True)

    assert life.send([life.contacts[0]]).wanted is Action.ACCEPT
    assert reputation.summary(life.account, life.now).standing is Standing.NORMAL


def test_an_exempt_account_is_never_stopped():
    """Exempt accounts are weighed and accepted."""
    life = Life(policy=Policy.from_budgets(exempt=frozenset({"sasl:joe@example.com"})))
    for _ in range(30):
        found = life.send(life.strangers(20), odds=8.0)

    assert found.wanted is Action.ACCEPT
    assert found.standing is not Standing.SUSPENDED


def test_garbage_in_the_store_starts_anew():
    """A record that cannot be read is no error."""
    assert read_account(b"\xff\x00garbage", 5.0).first_at == 5.0


def test_a_campaign_over_unrelated_customers_adds_up():
    """Each account counts once; a page that good customers share is no campaign."""
    state = None
    for number in range(8):
        for _ in range(3):
            state, view = observe_campaign(
                state,
                "url:evil.example/a",
                account=f"sasl:a{number}@c{number}.example",
                tenant=f"c{number}.example",
                source=f"192.0.{number}.0/24",
                recipients=1,
                share=Share(2.0, 0.0, is_usual=False),
                now=100.0 + number,
            )
    good = None
    for number in range(8):
        good, common = observe_campaign(
            good,
            "url:news.example/a",
            account=f"sasl:a@c{number}.example",
            tenant=f"c{number}.example",
            source="x",
            recipients=1,
            share=Share(-2.0, 0.0, is_usual=False),
            now=100.0,
        )

    assert view.accounts == 8
    assert view.recipients == 24
    assert view.nats == pytest.approx(8 * 2.0 + 7 * 1.5)
    assert common.is_common
    assert common.nats == 0.0


def shared(nats: float = 30.0) -> CampaignView:
    """A campaign that half the customers are in."""
    return CampaignView("url:evil.example/a", 60, 60, 60, 900, nats, is_common=False)


@given(
    st.floats(-20, 60),
    st.integers(1, 400),
    st.booleans(),
    st.lists(st.sampled_from(["a.example", "b.example"]), max_size=2, unique=True),
    st.lists(st.sampled_from(["zip", "js"]), max_size=2, unique=True),
    st.integers(0, 23),
)
@settings(max_examples=150)
def test_no_single_message_suspends(odds, recipients, is_blind, links, parts, hour):
    """With everything against it at once, a campaign of sixty customers too."""
    life = GOOD.copy()
    life.now = (life.now // DAY + 1) * DAY + hour * 3600
    message = life.message(
        life.strangers(recipients),
        odds,
        source="198.51.100.0/24",
        client="bot",
        links=tuple(links),
        parts=tuple(parts),
        blind=recipients if is_blind else 0,
    )

    assert life.judge(message, (shared(),)).standing is not Standing.SUSPENDED


def test_no_single_fingerprint_suspends():
    """Three hundred copies of one text that everybody spreads, from the owner's own place to those he knows."""
    life = GOOD.copy()
    for number in range(300):
        life.now += 2.0
        copy = life.message([life.contacts[number % 60]], 9.0, text=7, links=("evil.example",))
        assert life.judge(copy, (shared(),)).standing is not Standing.SUSPENDED


@pytest.mark.parametrize("group", sorted({group for model in ABUSE for group in model} - {"traps"}))
def test_no_single_group_suspends(group):
    """However often one kind of evidence comes; only a second spamtrap decides by itself."""
    account = read_account(GOOD.account, GOOD.now)
    lines = POLICY.lines(per_year(account, GOOD.now))
    for _ in range(500):
        account.stream.add({group: 3.0, **({"bulk-bounces": 3.0} if group == "bounces" else {})})

    assert not standing_signs(account, account.stream, POLICY, lines, machine=False)[1]


def spread(lives, message_of):
    """What one fingerprint comes to after a message of each of these customers."""
    state = None
    for number, life in enumerate(lives):
        message = message_of(life, number)
        share = reputation.for_campaigns(life.account, life.sources.get(message.source), message)
        state, view = observe_campaign(
            state,
            "url:some.example/a",
            account=f"sasl:a@c{number}.example",
            tenant=f"c{number}.example",
            source=message.source,
            recipients=1,
            share=share,
            now=message.now,
        )
    return view


def test_a_harmless_text_from_new_places_to_strangers_is_a_campaign_at_the_fifth_customer():
    """Each customer's place and recipients are measured against its own past; the text need not read like abuse."""
    lives = [GOOD.copy() for _ in range(5)]

    def from_anywhere(life, number):
        return life.message(life.strangers(1), -2.5, source=f"198.51.{number}.0/24", client="bot", text=7)

    def from_a_new_webmail(life, number):
        return life.message([life.contacts[number]], -2.5, source="203.0.113.0/24", client="webmail", text=7)

    def from_home(life, number):
        return life.message(life.strangers(1), -2.5, text=7)

    campaign, webmail, page = (spread(lives, one) for one in (from_anywhere, from_a_new_webmail, from_home))

    assert campaign.nats >= POLICY.campaign
    assert not campaign.is_common
    assert webmail.nats < POLICY.watch
    assert page.nats == 0.0
    assert page.is_common


def test_a_campaign_speaks_of_an_account_where_its_text_or_its_place_does_too():
    """A harmless letter from home shares a signature or a page with whoever else sends it."""

    def names(odds, source):
        life = GOOD.copy()
        message = life.message(life.strangers(1), odds, source=source, links=("some.example",))
        return {one.name for one in life.judge(message, (shared(),)).evidence}

    assert "campaign" not in names(-3.0, "192.0.2.0/24")
    assert "campaign" in names(3.0, "192.0.2.0/24")
    assert "campaign" in names(-3.0, "198.51.100.0/24")


def test_the_gate_is_lower_for_an_account_in_its_first_two_weeks():
    """Of few messages one in a thousand costs no more than one in ten thousand of a year's."""
    young, old = Life(), GOOD.copy()

    assert young.send(young.strangers(1), odds=7.5).reason == "PS-CONTENT"
    assert old.send(old.strangers(1), odds=7.5).wanted is Action.ACCEPT


def test_what_is_delayed_teaches_no_habit():
    """A thief's hundreds of delayed copies are not how the owner writes: they would speak for the thief when they come
    again."""
    life = GOOD.copy()
    throttled = 0
    for _ in range(120):
        life.now += 0.5
        before = read_account(life.account, life.now).habits()
        if life.send(life.strangers(1), odds=0.5, text=9).wanted is Action.THROTTLE:
            throttled += 1
            assert read_account(life.account, life.now).habits() == before

    assert throttled


def test_a_slow_start_lasts_its_window_whatever_the_statistic_does():
    """Who was not answered yet passes for known, so the statistic falls before a bounce could come back."""

    def later(seconds):
        life = Life()
        message = life.message(life.strangers(1))
        account = AccountState(first_at=0.0, slow=Slow(message.now - seconds, 3, 3))
        terms = Terms((), {}, 1)
        return wish(account, Stream(), message, terms, campaigns=(), policy=POLICY, machine=False, is_held=False)[0]

    assert later(10.0) is Action.THROTTLE
    assert later(300.0) is Action.ACCEPT


def test_a_stream_barely_over_its_line_needs_more_against_a_change_of_habits():
    """Small changes of habit are frequent, great ones are rare."""
    lines = POLICY.lines(365.0)

    def is_held(nats, bulk, *, is_closed=False):
        stream = Stream([nats] * len(ABUSE), [bulk] * 2, {"login": 3.0, "copies": 6.0}, is_closed=is_closed)
        return close(AccountState(), SourceState(), [stream], lines, machine=False)[0]

    slightly, hardly = lines.hold + 0.1, lines.hold_bulk + 0.2
    assert not is_held(slightly, hardly)
    assert is_held(slightly, lines.hold_bulk + 1.0)
    assert is_held(lines.suspend, hardly)
    assert is_held(slightly, hardly, is_closed=True)
