"""One account's life, message by message, over the pure core: what tests of accounts and timelines are written with."""

from copy import copy
from random import Random

from penstock.attempts import Attempt
from penstock.judge import reputation
from penstock.judge.evidence import Message
from penstock.judge.login_past import Login
from penstock.judge.logins import Past
from penstock.judge.policy import Policy
from penstock.model import Event, Kind, Verdict

DAY = 86400.0
POLICY = Policy.from_budgets()
HOME = "192.0.2.0/24"


class Life:
    """One account, lived message by message."""

    def __init__(
        self, seed: int = 1, *, policy: Policy = POLICY, account: str = "sasl:joe@example.com", contacts: int = 60
    ) -> None:
        self.rng = Random(seed)
        self.policy = policy
        self.name = account
        self.has_login = account.startswith("sasl:")
        self.now = 1_700_000_000.0
        self.account: bytes | None = None
        self.logins: bytes | None = None
        self.sources: dict[str, bytes] = {}
        self.count = 0
        self.contacts = [f"friend{number}@example.org" for number in range(contacts)]

    def message(self, to, odds=-3.0, source=HOME, text=None, **more):
        """A message that is sent now."""
        self.count += 1
        kind = more.pop("kind", Kind.NORMAL)
        return Message(
            now=self.now,
            account=self.name,
            tenant="example.com",
            source=source,
            client=more.pop("client", "a program"),
            mail_from=more.pop("mail_from", "joe@example.com"),
            recipients=tuple(to),
            verdict=Verdict(odds, kind),
            digest=more.pop("digest", self.count),
            texts=(text if text is not None else self.count,),
            has_login=more.pop("has_login", self.has_login),
            **more,
        )

    def copy(self):
        """The same life so far, to be lived on differently."""
        other = copy(self)
        other.sources, other.rng = dict(self.sources), Random(1)
        return other

    def judge(self, message, campaigns=()):
        """What a message comes to; the records are kept."""
        source = self.sources.get(message.source)
        found = reputation.observe_message(self.account, source, message, campaigns, self.policy)
        self.account, self.sources[message.source] = found.account, found.source
        return found

    def send(self, to, odds=-3.0, **more):
        """Send a message now."""
        return self.judge(self.message(to, odds, **more))

    def event(self, what, **more):
        """Something that comes back, or that is done besides sending."""
        if what == "login":
            return self.log_in(**more)
        event = Event(self.now, what, self.name, **more)
        found = reputation.observe_event(self.account, self.sources.get(event.source), event, self.policy)
        self.account = found.account
        if event.source:
            self.sources[event.source] = found.source
        return found

    def log_in(self, source, service="imap"):
        """A good login now."""
        past = Past.read(self.account, self.sources.get(source), self.logins, None, now=self.now)
        login = Login(self.name, source, Attempt(self.now, self.name, service=service))
        found = reputation.observe_login(past, login, self.policy)
        self.account, self.sources[source] = found.assessment.account, found.assessment.source
        self.logins = found.logins
        return found.assessment

    def owner(self, days: int):
        """Days of ordinary letters; returns every assessment."""
        return [self.judge(message) for message in self.letters(days)]

    def letters(self, days: int):
        """Days of ordinary letters, each made at the time at which it is sent."""
        for _ in range(days):
            self.until("09:00")
            for _ in range(self.rng.choice((0, 2, 5, 12))):
                self.now += self.rng.expovariate(1 / 1500)
                to = self.rng.sample(self.contacts, self.rng.choice((1, 1, 1, 2, 6)))
                if self.rng.random() < 0.1:
                    to[0] = f"new{self.count}@else.example"
                yield self.message(to, self.rng.gauss(-3.5, 2.0))

    def until(self, time_of_day: str) -> None:
        """Let the time pass until the next day's HH:MM (UTC)."""
        hour, minute = time_of_day.split(":")
        self.now = (self.now // DAY + 1) * DAY + int(hour) * 3600 + int(minute) * 60

    def strangers(self, count: int) -> list[str]:
        """Addresses that were never written to."""
        return [f"s{self.rng.getrandbits(40)}@far.example" for _ in range(count)]
