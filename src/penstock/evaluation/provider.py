"""A small made-up provider for the demonstration: forty accounts, their letters, and what a thief sends from one."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate
from random import Random

from msgspec import Struct

DAY = 86400.0
_FIRST = "anna ben carla david eva felix greta henry ida jonas kira leo mara nils olga paul rosa sven tina uwe".split()
_LAST = "ahrens berger conrad dietz ebert frank gross hahn iversen jansen keller lang meyer noack otto peters".split()
_THINGS = "offer invoice meeting draft contract schedule report order delivery plan minutes sample budget".split()
_OPENINGS = ("thanks for your message.", "as we said on the phone,", "just a short note:", "sorry for the late answer.")
_BODIES = (
    "the {thing} for {name} is ready, I will bring it along on {day}.",
    "could you look at the {thing} until {day}? The numbers on page two have changed.",
    "we moved the {thing} to {day} at ten. Please tell me if that does not suit you.",
    "I have talked to {name}; the {thing} is fine, only the date is still open.",
    "attached to my last mail was the wrong {thing}, here are the right figures: 12, 40 and 7.",
    "lunch on {day}? Then we can go through the {thing} together.",
)
_DAYS = "Monday Tuesday Wednesday Thursday Friday".split()
_SCAMS = (
    "Dear beneficiary,\n\nCONGRATULATIONS! Your e-mail address has won 850,000.00 USD in the international lottery "
    "promo. To claim your prize money contact our fiduciary agent now with your full name, address, telephone and bank "
    "account: "
    "http://claim-prize.{word}.example.net/winner?id={number}\n\nThis offer is 100% risk free. Act now!\n",
    "Buy VIAGRA, CIALIS and other meds online without prescription! Lowest prices, up to 80% OFF, discreet shipping "
    "worldwide, 100% satisfaction guaranteed. Order now: http://cheap-meds.{word}.example.net/?{number}\n"
    "Click here to unsubscribe.\n",
)


class Customer(Struct, frozen=True):
    """One account."""

    login: str
    name: str
    ip: str
    contacts: tuple[str, ...]
    per_day: float


class Sent(Struct, frozen=True):
    """One message of the demonstration."""

    at: float
    customer: Customer
    ip: str
    rcpt_to: tuple[str, ...]
    raw: bytes
    is_abuse: bool = False


class Provider:
    """Customers and their mail; the same seed makes the same provider."""

    def __init__(self, seed: int, *, customers: int = 40) -> None:
        self._rng = Random(seed)  # noqa: S311
        self.domain = f"demo{seed}.example"
        self.customers = [self._customer(number) for number in range(customers)]
        self.victim = self._rng.choice([one for one in self.customers if one.per_day > 3])

    def _customer(self, number: int) -> Customer:
        rng = self._rng
        first, last = rng.choice(_FIRST), rng.choice(_LAST)
        contacts = tuple(
            f"{rng.choice(_FIRST)}.{rng.choice(_LAST)}@firm{rng.randint(1, 60)}.example.org" for _ in range(25)
        )
        login = f"{first}.{last}{number}@{self.domain}"
        return Customer(login, f"{first} {last}".title(), f"192.0.2.{10 + number}", contacts, rng.uniform(1.5, 8))

    def ordinary(self, began: float, days: int) -> Iterator[Sent]:
        """What the customers themselves send, in order of time, on working hours."""
        found = [one for customer in self.customers for one in self._letters(customer, began, days)]
        yield from sorted(found, key=lambda one: one.at)

    def _letters(self, customer: Customer, began: float, days: int) -> Iterator[Sent]:
        rng = self._rng
        for day in range(days):
            for _ in range(max(0, round(rng.gauss(customer.per_day, 1.5)))):
                at = began + day * DAY + rng.uniform(8, 18) * 3600
                to = list(rng.sample(customer.contacts, rng.choice((1, 1, 1, 1, 2, 3))))
                if rng.random() < 0.08:
                    to.append(self._stranger())
                text = f"Hello,\n\n{rng.choice(_OPENINGS)} {self._line()}\n\nBest regards\n{customer.name}\n"
                raw = self._raw(customer, to, f"{rng.choice(_THINGS).title()} for {rng.choice(_DAYS)}", text, at)
                yield Sent(at, customer, customer.ip, tuple(to), raw)

    def theft(self, began: float, messages: int) -> Iterator[Sent]:
        """What a thief sends with the victim's password: one text, one stranger a message, a second apart."""
        rng, at = self._rng, began
        scam = rng.choice(_SCAMS)
        for _ in range(messages):
            to = [self._stranger()]
            text = scam.format(word=rng.choice(_THINGS), number=rng.randint(1000, 9999))
            subject = f"Important message for you {rng.randint(100, 999)}!"
            yield Sent(at, self.victim, "198.51.100.77", tuple(to), self._raw(self.victim, to, subject, text, at), True)
            at += rng.expovariate(1.0)

    def _line(self) -> str:
        rng = self._rng
        name = f"{rng.choice(_FIRST)} {rng.choice(_LAST)}".title()
        return rng.choice(_BODIES).format(thing=rng.choice(_THINGS), day=rng.choice(_DAYS), name=name)

    def _stranger(self) -> str:
        rng = self._rng
        return f"{rng.choice(_FIRST)}{rng.randint(1, 9999)}@{rng.choice(_LAST)}{rng.randint(1, 300)}.example.com"

    def _raw(self, customer: Customer, to: list[str], subject: str, text: str, at: float) -> bytes:
        lines = (
            f"From: {customer.name} <{customer.login}>",
            f"To: {', '.join(to)}",
            f"Subject: {subject}",
            f"Date: {formatdate(at)}",
            f"Message-ID: <{self._rng.getrandbits(64):016x}@{self.domain}>",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "",
            text.replace("\n", "\r\n"),
        )
        return "\r\n".join(lines).encode()
