"""Timelines of accounts: owners through a year, abusers from their first message, and what people and events do."""

from random import Random

import pytest

from penstock.judge import reputation
from penstock.judge.campaigns import observe_campaign
from penstock.judge.evidence import Message
from penstock.judge.history import read_account
from penstock.judge.policy import Policy
from penstock.model import Action, Event, Kind, Standing, Verdict

DAY = 86400.0
POLICY = Policy.from_budgets()


class Life:
    """One account, lived message by message."""

    def __init__(self, seed: int = 1, *, policy: Policy = POLICY) -> None:
        self.rng = Random(seed)
        self.policy = policy
        self.now = 1_700_000_000.0
        self.account: bytes | None = None
        self.sources: dict[str, bytes] = {}
        self.count = 0
        self.contacts = [f"friend{number}@example.org" for number in range(60)]

    def send(self, to, odds=-3.0, source="192.0.2.0/24", text=None, **more):
        self.count += 1
        kind = more.pop("kind", Kind.NORMAL)
        message = Message(
            now=self.now,
            account="sasl:joe@example.com",
            tenant="example.com",
            source=source,
            client=more.pop("client", "a program"),
            mail_from=more.pop("mail_from", "joe@example.com"),
            recipients=tuple(to),
            verdict=Verdict(odds, kind),
            digest=more.pop("digest", self.count),
            texts=(text if text is not None else self.count,),
            has_login=more.pop("has_login", True),
            **more,
        )
        found = reputation.observe_message(self.account, self.sources.get(source), message, (), self.policy)
        self.account, self.sources[source] = found.account, found.source
        return found

    def event(self, what, **more):
        event = Event(self.now, what, "sasl:joe@example.com", **more)
        source = self.sources.get(event.source)
        found = reputation.observe_event(self.account, source, event, self.policy)
        self.account = found.account
        if event.source:
            self.sources[event.source] = found.source
        return found

    def owner(self, days: int):
        """Days of ordinary letters; returns every assessment."""
        found = []
        for _ in range(days):
            self.now = (self.now // DAY + 1) * DAY + 9 * 3600
            for _ in range(self.rng.choice((0, 2, 5, 12))):
                self.now += self.rng.expovariate(1 / 1500)
                to = self.rng.sample(self.contacts, self.rng.choice((1, 1, 1, 2, 6)))
                if self.rng.random() < 0.1:
                    to[0] = f"new{self.count}@else.example"
                odds = self.rng.gauss(-3.5, 2.0)
                found.append(self.send(to, odds))
        return found

    def strangers(self, count: int) -> list[str]:
        return [f"s{self.rng.getrandbits(40)}@far.example" for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_a_good_customers_year_passes_without_a_hold(seed):
    """Three hundred and sixty days of letters, and the account ends trusted."""
    life = Life(seed)

    found = life.owner(360)

    assert {one.wanted for one in found if one.wanted is Action.HOLD} == set()
    assert found[-1].standing is Standing.TRUSTED
    assert len(life.account or b"") <= 2048


def test_a_stolen_password_at_three_in_the_morning_is_stopped_within_three_messages():
    """A blast of one text to strangers from a new network is held, then the account is suspended."""
    life = Life()
    life.owner(60)
    life.now = (life.now // DAY + 1) * DAY + 3 * 3600
    outcomes = []
    for _ in range(20):
        life.now += 0.5
        outcomes.append(life.send(life.strangers(1), odds=5.0, source="198.51.100.0/24", text=7, client="bot"))
    leaked = sum(one.wanted is Action.ACCEPT for one in outcomes)

    assert leaked <= 3
    assert outcomes[-1].standing is Standing.SUSPENDED
    names = [one.name for one in outcomes[leaked].evidence[:3]]
    assert {"content", "new-recipients", "new-source", "carried", "recipients-per-hour"} & set(names)


def test_a_huge_cc_is_stopped_at_its_second_message():
    """Recipients are the unit: one hundred and seventy strangers a message."""
    life = Life()
    life.owner(40)
    outcomes = [life.send(life.strangers(170), odds=3.5, source="198.51.100.0/24", text=n) for n in range(5)]

    assert sum(one.wanted is Action.ACCEPT for one in outcomes) <= 2


def test_a_christmas_card_to_everybody_known_passes():
    """Five times the usual number of recipients, nearly all of them known, harmless text."""
    life = Life()
    life.owner(60)
    found = [life.send([one], odds=-2.0, text=3) for one in life.contacts + life.strangers(12)]

    assert {one.wanted for one in found} == {Action.ACCEPT}


def test_a_newsletters_first_issue_is_at_most_slowed():
    """Four hundred new readers in one go with harmless text: no hold, no suspension."""
    life = Life()
    life.owner(60)
    found = []
    for _ in range(400):
        life.now += 1.0
        found.append(life.send(life.strangers(1), odds=-1.0, text=5, kind=Kind.BULK))

    assert {one.wanted for one in found} <= {Action.ACCEPT, Action.THROTTLE}
    assert Standing.SUSPENDED not in {one.standing for one in found}


def test_a_new_place_alone_never_holds():
    """A job change: new network, a new mail program, and new colleagues, with ordinary letters."""
    life = Life()
    life.owner(60)
    life.event("login", source="203.0.113.0/24", service="imap")
    found = [life.send([f"colleague{n % 8}@new.example"], odds=-2.0, source="203.0.113.0/24") for n in range(30)]

    assert {one.wanted for one in found} == {Action.ACCEPT}


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
    first = life.send(life.strangers(1), odds=3.0, digest=99)
    again = life.send(["someone@far.example"], odds=3.0, digest=99)

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
                content_nats=2.0,
                is_usual=False,
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
            content_nats=-2.0,
            is_usual=False,
            now=100.0,
        )

    assert view.accounts == 8
    assert view.recipients == 24
    assert view.nats == pytest.approx(8 * 2.0 + 7 * 1.5)
    assert common.is_common
    assert common.nats == 0.0
