"""What an operator's settings mean to judging: values only, built once by the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from penstock.judge.breaker import Breaker
from penstock.judge.identity import Identity, Network
from penstock.judge.limits import Limit
from penstock.judge.opinions import Scale
from penstock.judge.policy import Policy
from penstock.judge.pools import Pools
from penstock.judge.reference import make_link
from penstock.model import Action, Kind, Mode


class Plan(Struct, frozen=True):
    """The plain limits of one plan."""

    account: tuple[Limit, ...] = ()
    tenant: tuple[Limit, ...] = ()
    automatic: tuple[Limit, ...] = ()
    """For automatic mail and forwards of an account, counted apart."""


class LoginRules(Struct, frozen=True):
    """What may be done about logins."""

    may_refuse: bool = True
    """Whether a place that is not the owner's may be refused, in enforce mode."""
    suspended: str = "smtp"
    """What a suspended account is refused: `smtp`, `all` or `nothing`."""
    own_hosts: tuple[Network, ...] = ()
    """Web-mail, panels: they log in for others, so that their address says nothing."""


class Rules(Struct, frozen=True):
    """Everything that the order of steps asks of the settings."""

    identity: Identity
    policy: Policy
    mode: Mode
    reference_key: bytes
    """Secret of the reference tokens."""
    reply_reason: Callable[[str], str]
    """What a receiver's reply means, as the name of its reason; reading replies is not the judge's."""
    must_defer_on_failure: bool = False
    """False lets mail flow unjudged where Penstock itself cannot judge."""
    plans: Mapping[str, Plan] = {}
    pools: Pools = Pools()
    pool_header: str = "X-Penstock-Pool"
    strip_headers: tuple[str, ...] = ()
    """Lower case."""
    own_addresses: frozenset[str] = frozenset()
    spamtraps: frozenset[str] = frozenset()
    """Addresses, and domains with an `@` in front, that nobody ever used. Lower case."""
    reply_link: str = ""
    """With `{id}` and `{link}` to be filled in; empty for none."""
    scales: Mapping[str, Scale] = {}
    """How other scanners' scores are read, by their name."""
    logins: LoginRules = LoginRules()
    on_virus: Action = Action.REJECT
    feedback_sender: str = "penstock"
    """Last field of Feedback-ID, by which a receiver adds up complaints of this provider."""
    breaker: Breaker | None = None
    """How many accounts the machine may suspend within an hour; None for any number."""
    patience_s: float = 20.0
    """How long one judging may wait for the store."""

    def link_of(self, id: str) -> str:
        """The page that the refusal of a decision points to; without an id it is an account that is refused."""
        link = make_link(id, self.reference_key) if id else "account"
        return self.reply_link.replace("{id}", id).replace("{link}", link)

    def plan(self, name: str) -> Plan:
        """A plan by name; `default` is everybody's without one."""
        return self.plans.get(name) or self.plans.get("default") or _NO_LIMITS

    def limits(self, plan: str, kind: Kind) -> tuple[tuple[Limit, ...], tuple[Limit, ...]]:
        """The limits of an account's message: (account's or automatic mail's, tenant's)."""
        found = self.plan(plan)
        if kind in (Kind.AUTOMATIC, Kind.FORWARDED):
            return found.automatic, ()
        return found.account, found.tenant

    def trapped(self, recipients: tuple[str, ...]) -> list[str]:
        """The spamtraps among recipients, lower case, each once."""
        if not self.spamtraps:
            return []
        lowered = dict.fromkeys(one.lower() for one in recipients)
        return [one for one in lowered if one in self.spamtraps or f"@{one.rpartition('@')[2]}" in self.spamtraps]

    def is_own(self, recipient: str) -> bool:
        """Whether an address is the provider's own."""
        return recipient.lower() in self.own_addresses


_NO_LIMITS = Plan()
