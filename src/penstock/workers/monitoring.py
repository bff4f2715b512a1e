"""The monitor and what hangs on it, put together from the settings: resolver, lists, alerts, webhook."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import islice

from penstock.clients.dns import Resolver, ResolverSettings, servers_of
from penstock.clients.dnsbl import Lists
from penstock.clients.webhook import Webhook
from penstock.config import Settings
from penstock.lists.catalogue import Choice, chosen_lists, read_choice
from penstock.protocols.dnsbl import to_ascii
from penstock.store.ports import DecisionSearch, Store
from penstock.workers.blocklists import Monitor, MonitorSettings, Watched, watched_of
from penstock.workers.listing_alerts import Alerts, AlertSettings, Contacts
from penstock.workers.webhooks import Webhooks

LOOK_S = 2.0
_TELL_S = 5.0
_DOMAINS_S = 600.0
_MOST_ROWS = 20_000
_PAGE = 1000
Chore = tuple[float, str, Callable[[], Awaitable[int]]]


class Monitoring:
    """Everything that watches what is ours on blocklists."""

    def __init__(
        self, settings: Settings, store: Store, *, log: Callable[[str], None], now: Callable[[], float]
    ) -> None:
        """Raises OSError and ValueError for lists and targets that cannot be read."""
        section = settings.blocklists
        servers = servers_of(section.resolver)
        self._resolver = Resolver(ResolverSettings(servers))
        self._store = store
        self._now = now
        self._most_domains = section.sent_domains
        self._domains: tuple[float, tuple[Watched, ...]] = (0.0, ())
        lists = chosen_lists(*choices_of(settings))
        self.watched = watched_in(settings)
        watching = MonitorSettings(self.watched, section.every_minutes * 60.0)
        asking = Lists(self._resolver, lists)
        self.monitor = Monitor(watching, asking, store, now=now, jitter=random.random, more=self.sent_domains)
        contacts = tuple(Contacts(one.network, tuple(one.contacts)) for one in section.ranges)
        telling = AlertSettings(
            section.alert_severity, section.alert_lists, section.digest_minutes * 60.0, contacts, bool(section.webhook)
        )
        self.alerts = Alerts(telling, lists, store, now)
        self._webhook = Webhook(section.webhook, section.webhook_secret) if section.webhook else None
        self._webhooks = Webhooks(store, self._webhook, log, now) if self._webhook else None

    async def start(self) -> None:
        """Open the resolver's sockets. Raises OSError."""
        await self._resolver.start()

    async def close(self) -> None:
        """Let go."""
        await self._resolver.close()
        if self._webhook is not None:
            await self._webhook.close()

    def chores(self) -> list[Chore]:
        """What runs, and how often."""
        found: list[Chore] = [
            (LOOK_S, "blocklists", self.monitor.run_once),
            (_TELL_S, "listing-alerts", self.alerts.run_once),
        ]
        if self._webhooks is not None:
            found.append((LOOK_S, "webhooks", self._webhooks.run_once))
        return found

    async def sent_domains(self) -> tuple[Watched, ...]:
        """The busiest domains of the last day's mail, looked up again every ten minutes; a message counts each once."""
        now = self._now()
        if not self._most_domains or now < self._domains[0]:
            return self._domains[1]
        counts, before = Counter[str](), ""
        for _ in range(_MOST_ROWS // _PAGE):
            rows = await self._store.decisions(DecisionSearch(since=now - 86400.0, before=before, limit=_PAGE))
            for row in rows:
                counts.update({row.mail_from.rpartition("@")[2].lower(), *row.domains})
            if len(rows) < _PAGE:
                break
            before = rows[-1].decision.id
        names = (_domain(name) for name, _ in counts.most_common())
        busiest = islice(filter(None, names), self._most_domains)
        self._domains = (now + _DOMAINS_S, tuple(map(Watched, dict.fromkeys(busiest))))
        return self._domains[1]


def choices_of(settings: Settings) -> list[Choice]:
    """What the settings make of the catalogue. Raises OSError, and ValueError with the file it is about."""
    section, found = settings.blocklists, list[Choice]()
    if section.lists_file is not None:
        try:
            found.append(read_choice(section.lists_file.read_text("utf-8")))
        except ValueError as trouble:
            raise ValueError(f"{section.lists_file}: {trouble}") from None
    return [*found, Choice(disable=section.disable, enable=section.enable, keys=section.keys)]


def watched_in(settings: Settings) -> tuple[Watched, ...]:
    """What the settings say is to be watched. Raises ValueError for what is neither network nor domain."""
    section = settings.blocklists
    ips = [ip for pool in settings.pools.named.values() for ip in pool.ips]
    found = [(text, section.sending_importance) for ip in ips for text in (ip.ip, ip.ip6) if text]
    found += [(one.network, one.importance) for one in section.ranges]
    return watched_of(found + [(name, 1) for name in section.domains])


def _domain(name: str) -> str:
    """A name as lists know it; empty for what is none, such as an address in a link."""
    try:
        known = to_ascii(name)
    except ValueError:
        return ""
    return "" if known.rpartition(".")[2].isdigit() or "." not in known else known
