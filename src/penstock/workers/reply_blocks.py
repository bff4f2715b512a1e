"""Blocks that no DNS shows: receivers whose replies say that an IP of ours is blocked, kept with the other listings.

One such reply may be about one message. Several within an hour are a listing `receiver:NAME` of that IP, which then
takes the way of all listings: the IP leaves its pool, a case names the accounts behind it. It is cleared once nobody
has said so for a day.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from penstock.config import Settings
from penstock.model import Listing, ListingChange, Severity
from penstock.protocols.receivers import Level, ReplyMeaning, Scope
from penstock.store.ports import Store

CLEAR_EVERY_S = 300.0
RECEIVER = "receiver:"
"""What the names of such lists begin with."""
_ENOUGH = 3
_WITHIN_S = 3600.0
_CLEAR_AFTER_S = 86400.0
_LARGE = frozenset({
    "apple", "att", "comcast", "free", "gmx", "google", "laposte", "mail.ru", "microsoft", "netease", "orange", "qq",
    "t-online", "yahoo", "yandex",
})  # fmt: skip
"""Receivers with so many recipients that their block alone is worth taking an IP out."""


class ReplyBlocks:
    """Watches replies for blocks of our IPs."""

    def __init__(self, store: Store, ips: frozenset[str], now: Callable[[], float]) -> None:
        """`ips` are ours, in their usual spelling."""
        self._store = store
        self._ips = ips
        self._now = now
        self._said: dict[tuple[str, str], list[float]] = {}

    def is_about_us(self, reply: str) -> bool:
        """Whether a reply names an IP of ours; cheap, for every line of a log."""
        return any(ip in reply for ip in self._ips)

    async def note(self, meaning: ReplyMeaning, reply: str, at: float) -> bool:
        """Take note of a reply; whether it makes, or keeps up, a listing. Raises StoreUnavailable."""
        is_block = meaning.level is Level.BLOCK and meaning.scope is Scope.IP and meaning.named_ip in self._ips
        if not is_block or at < self._now() - _CLEAR_AFTER_S:
            return False
        who = meaning.receiver or meaning.blocklist or "others"
        key = (meaning.named_ip, who)
        recent = [one for one in self._said.get(key, ()) if one > at - _WITHIN_S]
        said = self._said[key] = [*recent[-_ENOUGH:], at]
        if len(said) < _ENOUGH:
            return False
        listing = Listing(
            meaning.named_ip,
            f"{RECEIVER}{who}",
            at,
            at,
            codes=(f"{meaning.code} {meaning.status}".strip(),),
            meanings=(meaning.reason.value,),
            text=reply[:500],
            severity=Severity.HIGH if who in _LARGE else Severity.LOW,
        )
        await self._store.record_listings((ListingChange(at, "listed", listing),))
        return True

    async def run_once(self) -> int:
        """Clear what no receiver has said for a day; how many. Raises StoreUnavailable."""
        now = self._now()
        quiet = [
            one
            for one in await self._store.listings()
            if one.list.startswith(RECEIVER) and one.last_seen < now - _CLEAR_AFTER_S
        ]
        if quiet:
            await self._store.record_listings(
                tuple(ListingChange(now, "cleared", replace(one, until=now), before=one.codes) for one in quiet)
            )
        return len(quiet)


def reply_blocks(settings: Settings, store: Store, now: Callable[[], float]) -> ReplyBlocks:
    """The watch over the IPs of all pools."""
    ips = {text for pool in settings.pools.named.values() for one in pool.ips for text in (one.ip, one.ip6) if text}
    return ReplyBlocks(store, frozenset(ips), now)
