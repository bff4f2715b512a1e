"""Timelines of logins: owners who travel, buy phones and mistype; thieves with one password and many places."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.attempts import Attempt, Location
from penstock.judge import reputation
from penstock.judge.history import read_source
from penstock.judge.login_past import (
    Login,
    encode_logins,
    is_routine,
    note_spread,
    note_wrong,
    read_logins,
    read_spread,
)
from penstock.judge.logins import Past, weigh_login
from penstock.judge.policy import Policy
from penstock.model import Event, Standing

DAY, HOUR = 86400.0, 3600.0
POLICY = Policy.from_budgets()
JOE, HOME = "sasl:joe@example.com", "192.0.2.0/24"


class Account:
    """One account's logins, one after another."""

    def __init__(self, name=JOE, policy=POLICY):
        self.name, self.policy, self.now = name, policy, 1_700_000_000.0
        self.account = self.logins = None
        self.sources, self.spreads = {}, {}

    def _login(self, source, is_good, location=None, **more):
        attempt = Attempt(
            self.now, self.name, source.replace("0/24", "9"), more.pop("service", "imap"), more.pop("client", ""),
            is_good, not is_good, more.pop("password", ""),
        )  # fmt: skip
        return Login(self.name, source, attempt, location or Location())

    def past(self, login):
        spread = self.spreads.get(login.spread_key)
        return Past.read(self.account, self.sources.get(login.source), self.logins, spread, now=self.now)

    def ask(self, source=HOME, **more):
        login = self._login(source, True, **more)
        return weigh_login(self.past(login), login, self.policy)

    def good(self, source=HOME, **more):
        login = self._login(source, True, **more)
        past = self.past(login)
        if is_routine(past.logins, login):
            return None
        self.spreads[login.spread_key] = note_spread(self.spreads.get(login.spread_key), login)
        found = reputation.observe_login(past, login, self.policy)
        self.account, self.sources[source] = found.assessment.account, found.assessment.source
        self.logins = found.logins
        return found.weighed

    def wrong(self, source=HOME, **more):
        login = self._login(source, False, **more)
        spread = note_spread(self.spreads.get(login.spread_key), login)
        self.spreads[login.spread_key] = spread or self.spreads.get(login.spread_key)
        if self.account is None:
            return False
        state = read_logins(self.logins)
        is_new = note_wrong(state, login)
        self.logins = encode_logins(state)
        return is_new

    def event(self, what):
        found = reputation.observe_event(self.account, None, Event(self.now, what, self.name), self.policy)
        self.account = found.account

    def at_home(self, days=30, each=3, **more):
        for _ in range(days):
            for _ in range(each):
                self.now += DAY / each
                self.good(**more)
        return self

    def head_start(self, source):
        return read_source(self.sources.get(source)).stream.nats


def network(number):
    return f"198.{18 + number // 256}.{number % 256}.0/24"


def test_a_new_place_gives_its_source_a_bounded_head_start():
    """At most four nats, however often he logs in there; the owner's own place gets none."""
    joe = Account().at_home()
    first = joe.good(network(1), service="smtp")
    for _ in range(20):
        joe.now += 2 * HOUR
        joe.good(network(1), service="smtp")

    assert 3.0 <= first.head_start(is_first=True) <= 4.0 and not first.is_refused
    assert 0.0 < joe.head_start(network(1)) <= 4.0
    assert joe.head_start(HOME) == 0.0


def test_who_travels_or_buys_a_phone_is_not_locked_out():
    """New country, new provider, new program, faster than any plane: all that is one kind of evidence."""
    home, far = Location(64500, "DE", 52.5, 13.4), Location(64501, "SG", 1.3, 103.8)
    joe = Account().at_home(location=home, client="old phone")
    joe.now += HOUR
    found = joe.ask(network(1), location=far, client="new phone", service="smtp")

    names = {one.name for one in found.evidence}
    assert {"new-source", "new-country", "new-client", "impossible-travel"} <= names
    assert not found.is_refused and found.strangeness <= 4.0


@pytest.mark.parametrize("seed", range(6))
def test_a_year_of_travels_is_never_refused(seed):
    """Every second week on the road: airports, hotels, mobile networks, now and then a mistyped password."""
    rng, joe = Random(seed), Account()
    for week in range(52):
        for _ in range(7):
            is_away = week % 2 == 1 and rng.random() < 0.6
            places = [network(rng.randrange(400)) for _ in range(rng.choice((1, 2, 4)))] if is_away else [HOME]
            for _ in range(6):
                joe.now += DAY / 6
                place = rng.choice(places)
                if rng.random() < 0.1:
                    joe.wrong(place, password=str(rng.randrange(3)))
                assert not joe.ask(place).is_refused
                joe.good(place)


def test_one_password_from_thirty_networks_is_refused_and_the_owner_reads_on():
    """Many new places within the hour are a second kind of evidence; home stays open."""
    joe, refused = Account().at_home(), []
    for number in range(30):
        joe.now += 60.0
        if joe.ask(network(number), service="smtp").is_refused:
            refused.append(number)
        else:
            joe.good(network(number), service="smtp")
        assert not joe.ask(HOME).is_refused

    assert refused == list(range(min(refused), 30)) and min(refused) <= 8
    joe.now += 2 * DAY
    assert joe.ask(network(77)).is_refused or joe.ask(network(77)).nats > POLICY.login_line - 3


def test_a_mobile_user_of_many_networks_of_one_provider_is_one_place():
    """Where the provider is known, his networks are no crowd, and another one of them is little news."""
    home, mobile = Location(64500, "DE"), Location(64502, "DE")
    joe = Account().at_home(location=home)
    for number in range(20):
        joe.now += 120.0
        found = joe.good(network(number), location=mobile)
        assert not found.is_refused and "many-sources" not in {one.name for one in found.evidence}
    joe.now += 40 * DAY
    joe.good(network(3), location=mobile)  # the place has settled by now

    assert joe.ask(network(99), location=mobile).head_start(is_first=True) < 2.5


def test_after_a_change_of_password_the_crowd_is_forgotten():
    """Then a new place is a new place again, and nobody is refused for what others did."""
    joe = Account().at_home()
    for number in range(12):
        joe.now += 60.0
        joe.good(network(number))
    assert joe.ask(network(50)).is_refused
    joe.now += 60.0
    joe.event("password-changed")
    joe.now += 60.0

    assert not joe.ask(network(51)).is_refused


def test_different_wrong_passwords_count_and_one_repeated_does_not():
    """An old phone repeats its password for months; who guesses does not repeat himself."""
    joe = Account().at_home()
    for _ in range(50):
        joe.now += 300.0
        joe.wrong(network(1), password="0a1")
    patient = joe.ask(network(1))
    for number in range(6):
        joe.now += 10.0
        joe.wrong(network(2), password=f"{number:x}")
    guessed = joe.ask(network(2))

    assert "guessed" not in {one.name for one in patient.evidence}
    assert {one.name: one.nats for one in guessed.evidence}["guessed"] == 3.0
    assert not guessed.is_refused, "who forgot his password on a journey gets in"


def test_wrong_passwords_at_home_are_the_owners():
    """Whoever mistypes at home has not been guessed."""
    joe = Account().at_home()
    for number in range(9):
        joe.wrong(HOME, password=str(number))

    assert "guessed" not in {one.name for one in joe.ask(network(1)).evidence}


def test_a_right_password_from_who_tries_many_accounts_is_refused():
    """Stuffing: one source fails at others and succeeds here, where it is new."""
    spreads, joe = {}, Account().at_home()
    for number in range(8):
        other = Account(f"sasl:other{number}@example.com")
        other.now, other.spreads = joe.now, spreads
        other.wrong(network(1), password="1")
    joe.spreads = spreads

    found = joe.ask(network(1))
    assert "tries-accounts" in {one.name for one in found.evidence} and found.is_refused
    assert not joe.ask(HOME).is_refused


def test_an_office_whose_people_mistype_is_no_sprayer():
    """Where others get in too, some failures are nobody's."""
    spreads, joe = {}, Account().at_home()
    for number in range(20):
        other = Account(f"sasl:other{number}@example.com")
        other.now, other.spreads = joe.now, spreads
        if number < 5:
            other.wrong(network(1), password="1")
        other.good(network(1))
    joe.spreads = spreads

    assert "tries-accounts" not in {one.name for one in joe.ask(network(1)).evidence}


def test_a_listed_source_is_evidence_and_never_enough_by_itself():
    """Lists hold shared addresses too."""
    found = Account().at_home().ask(network(1), location=Location(lists=("authbl",)))

    assert "listed-source" in {one.name for one in found.evidence} and not found.is_refused


def test_a_reader_who_suddenly_submits_is_news():
    """An account that read mail for months and never sent any logs in on SMTP from somewhere new."""
    joe = Account().at_home(days=40)

    assert "new-service" in {one.name for one in joe.ask(network(1), service="smtp").evidence}
    assert "new-service" not in {one.name for one in joe.ask(network(1), service="imap").evidence}


def test_what_an_account_sends_speaks_against_new_places_only():
    """Abuse left from somewhere: whoever comes from elsewhere has the password too."""
    joe = Account().at_home()
    joe.event("spamtrap")

    assert joe.ask(network(1)).is_refused
    assert not joe.ask(HOME).is_refused


def test_a_login_never_suspends():
    """Whatever logins say is one group of evidence, and the account needs two."""
    joe = Account().at_home()
    for number in range(60):
        joe.now += 30.0
        joe.good(network(number), location=Location(64500 + number, "XX", 0.0, float(number), lists=("authbl",)))
        found = reputation.summary(joe.account, joe.now)

    assert found.standing in (Standing.NEW, Standing.NORMAL)


def test_an_exempt_account_is_never_refused():
    """Such as the monitoring's."""
    policy = Policy.from_budgets(exempt=frozenset((JOE,)))
    joe = Account(policy=policy).at_home()
    for number in range(30):
        joe.now += 60.0
        joe.good(network(number))

    assert not joe.ask(network(99)).is_refused


def test_a_crowd_cannot_push_out_the_owner():
    """Memory is bounded, and the owner's old places stay in it."""
    joe = Account().at_home()
    for number in range(500):
        joe.now += 10.0
        joe.good(network(number))

    assert joe.ask(HOME).evidence == () and len(joe.logins) < 8000
    assert len(read_logins(joe.logins).sources) <= 48


@pytest.mark.parametrize("service", ["imap", ""])
def test_a_mail_program_that_logs_in_every_minute_is_written_down_once_an_hour(service):
    """Whether its service is told or not; another service is news."""
    joe = Account()
    joe.good(service=service)
    for _ in range(59):
        joe.now += 59.0
        assert joe.good(service=service) is None

    assert joe.good(service="smtp") is not None


def test_a_spread_is_bounded():
    """A source that tries everybody fills no memory."""
    data = None
    for number in range(1000):
        login = Login(
            f"sasl:u{number}@example.com", network(1), Attempt(1e9 + number, "", "198.18.1.9", "imap", "", False, True)
        )
        data = note_spread(data, login) or data

    assert len(data) < 2000 and read_spread(data).others("sasl:x", 1e9 + 1000)[0] == 64


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_start_anew(data):
    """What an older or newer version wrote never stops a login."""
    assert read_logins(data) is not None and read_spread(data) is not None
