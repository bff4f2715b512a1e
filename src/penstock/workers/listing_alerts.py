"""Who is told when something of ours is listed or cleared: changes only, in digests, never the baseline."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, to_builtins

from penstock.lists.catalogue import BlockList
from penstock.model import OutboxItem
from penstock.sending import Listing, ListingChange, Severity
from penstock.store.ports import Records, Store

_POSITION = "alerts:listings"
_PAGE = 500


class Contacts(Struct, frozen=True):
    """Who answers for a range."""

    network: str
    to: tuple[str, ...]


class AlertSettings(Struct, frozen=True):
    """What is worth telling, and to whom."""

    severity: Severity
    least_lists: int
    """So many lists of that severity must have a target before anybody is told."""
    digest_s: float
    contacts: tuple[Contacts, ...] = ()
    webhook: bool = False


class Alerts:
    """Turns changes into notices and webhook calls, through the outbox. What was told is never told again."""

    def __init__(
        self, settings: AlertSettings, lists: Sequence[BlockList], store: Store, now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._lists = {one.name: one for one in lists}
        self._store = store
        self._now = now

    async def run_once(self) -> int:
        """Tell of the changes whose time has come; how many were told of. Raises StoreUnavailable.

        A digest holds all changes within its time after the first; so it is the same one when a crash repeats it, and
        its key keeps it from being queued twice.
        """
        after = int(await self._store.meta(_POSITION) or b"0")
        changes = await self._store.listing_changes(after=after, limit=_PAGE)
        if not changes:
            return 0
        news = [one for one in changes if self._is_news(one)]
        if news and self._now() < news[0].at + self._settings.digest_s:
            return 0
        end = news[0].at + self._settings.digest_s if news else self._now()
        batch = [one for one in changes if one.at <= end or not news]
        told = await self._worth(news=[one for one in batch if self._is_news(one)])
        items = [*self._notices(told), *self._calls(told)]
        if items:
            await self._store.update((), lambda: Records(outbox=tuple(items)))
        await self._store.set_meta(_POSITION, b"%d" % batch[-1].number)
        return len(told)

    def _is_news(self, change: ListingChange) -> bool:
        return not change.is_baseline and change.listing.severity.rank >= self._settings.severity.rank

    async def _worth(self, news: Sequence[ListingChange]) -> list[tuple[ListingChange, int, int]]:
        """The changes to tell of, each with how many lists had the target before and have it after."""
        found = []
        for change in news:
            rows = await self._store.listings(target=change.listing.target, current_only=False)
            grave = [one for one in rows if one.severity.rank >= self._settings.severity.rank]
            after = _lists_at(grave, change.at)
            before = after - (change.what == "listed") + (change.what == "cleared")
            if max(before, after) >= self._settings.least_lists:
                found.append((change, before, after))
        return found

    def _notices(self, told: Sequence[tuple[ListingChange, int, int]]) -> list[OutboxItem]:
        """One notice for all changes that the same people are told of."""
        groups: dict[tuple[str, ...], list[ListingChange]] = {}
        for change, _, _ in told:
            groups.setdefault(self._to(change.listing.target), []).append(change)
        items = []
        for to, changes in groups.items():
            key = f"listings/{changes[0].number}/{','.join(to)}"
            payload = {"what": "listings", "to": list(to), "lines": [self._line(one) for one in changes]}
            items.append(OutboxItem(key, changes[-1].at, "notice", changes[0].listing.target, payload))
        return items

    def _calls(self, told: Sequence[tuple[ListingChange, int, int]]) -> list[OutboxItem]:
        if not self._settings.webhook:
            return []
        return [
            OutboxItem(f"listing/{change.number}", change.at, "webhook", change.listing.target, self._payload(*row))
            for row in told
            for change in row[:1]
        ]

    def _payload(self, change: ListingChange, before: int, after: int) -> Mapping[str, object]:
        """What a webhook gets: the change, and the target's state before and after it."""
        one = self._lists.get(change.listing.list)
        return {
            "what": change.what,
            "number": change.number,
            "at": change.at,
            "listing": to_builtins(change.listing),
            "before": {"codes": list(change.before), "lists": before},
            "after": {"codes": [] if change.what == "cleared" else list(change.listing.codes), "lists": after},
            "zone": (one.zone or one.key_zone) if one else "",
            "delist": one.delist if one else "",
        }

    def _to(self, target: str) -> tuple[str, ...]:
        """Those of the narrowest range with contacts; empty for the postmaster."""
        try:
            address = ipaddress.ip_address(target)
        except ValueError:
            return ()
        ranges = [(ipaddress.ip_network(one.network), one.to) for one in self._settings.contacts if one.to]
        inside = [(network.prefixlen, to) for network, to in ranges if address in network]
        return max(inside, default=(0, ()))[1]

    def _line(self, change: ListingChange) -> str:
        listing = change.listing
        one = self._lists.get(listing.list)
        where = f"; get off at {one.delist}" if one and one.delist and change.what != "cleared" else ""
        means = f": {'; '.join(listing.meanings)}" if listing.meanings else ""
        match change.what:
            case "cleared":
                return f"{listing.target} is off {listing.list} again"
            case "changed":
                codes = f"{' '.join(change.before)} to {' '.join(listing.codes)}"
                return f"{listing.target} at {listing.list} changed from {codes}{means}{where}"
            case _:
                return f"{listing.target} is on {listing.list} ({listing.severity}){means}{where}"


def _lists_at(listings: Sequence[Listing], at: float) -> int:
    """On how many lists a target was just after a moment."""
    return len({one.list for one in listings if one.since <= at and (not one.until or one.until > at)})
