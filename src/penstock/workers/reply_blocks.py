"""Blocks that no DNS shows: receivers whose replies say that they block us, kept with the other listings.

One such reply may be about one message. Several within an hour are a listing: `receiver:NAME` of an IP of ours, which
then takes the way of all listings (the IP leaves its pool, a case names the accounts behind it); `receiver:NAME/domain`
of a sender's domain; and `receiver:NAME/content` or `receiver:NAME/rate` of the IP whose mail a receiver takes for spam
or slows down, which is history and takes nothing out. Each is cleared once nobody has said so for a day.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from penstock.config import Settings
from penstock.protocols.receivers import Level, Reason, ReplyMeaning, Scope
from penstock.sending import Listing, ListingChange, Severity
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
_SEVERITY = {"ip": Severity.HIGH, "domain": Severity.MEDIUM, "content": Severity.LOW, "rate": Severity.LOW}
_MOST_KEPT = 10_000


class ReplyBlocks:
    """Watches replies for blocks of our IPs."""

    def __init__(self, store: Store, ips: frozenset[str], now: Callable[[], float]) -> None:
        """`ips` are ours, in their usual spelling."""
        self._store = store
        self._ips = ips
        self._now = now
        self._said: dict[tuple[str, str], dict[str, float]] = {}

    def needs_sender(self, meaning: ReplyMeaning) -> bool:
        """Whether a reply does not name what it blocks, so that `note` must be told whose mail it was."""
        kind = _kind(meaning)
        return kind == "domain" or (kind is not None and not self._ip_of(meaning, kind, ""))

    async def note(
        self, meaning: ReplyMeaning, reply: str, at: float, *, key: str, ip: str = "", domain: str = ""
    ) -> bool:
        """Take note of a reply; whether it makes, or keeps up, a listing. Raises StoreUnavailable.

        `key` is of the message and its recipient, which count once however often they are tried. `ip` is the address
        that the mail left by and `domain` its envelope sender's, empty where that is not known.
        """
        kind, who = _kind(meaning), meaning.receiver or meaning.blocklist or "others"
        target = domain if kind == "domain" else self._ip_of(meaning, kind, ip)
        is_noise = kind in ("content", "rate") and who == "others"
        if kind is None or not target or is_noise or at < self._now() - _CLEAR_AFTER_S:
            return False
        name = f"{RECEIVER}{who}{f'/{kind}' if kind != 'ip' else ''}"
        said = {one: when for one, when in self._said.get((target, name), {}).items() if when > at - _WITHIN_S}
        said[key] = at
        self._keep((target, name), dict(list(said.items())[-_ENOUGH:]))
        if len(said) < _ENOUGH:
            return False
        severity = _SEVERITY[kind] if who in _LARGE else Severity.LOW
        if kind == "ip" and not meaning.named_ip:
            severity = min(severity, Severity.MEDIUM, key=lambda one: one.rank)  # whose IP is meant is our conclusion
        listing = Listing(
            target,
            name,
            at,
            at,
            codes=(f"{meaning.code} {meaning.status}".strip(),),
            meanings=(meaning.reason.value,),
            text=reply[:500],
            severity=severity,
        )
        await self._store.record_listings((ListingChange(at, "listed", listing),))
        return True

    def _ip_of(self, meaning: ReplyMeaning, kind: str | None, sent_by: str) -> str:
        """The IP of ours that a reply is about; an IP block that names somebody else's is about nobody here."""
        if meaning.named_ip in self._ips:
            return meaning.named_ip
        return sent_by if sent_by in self._ips and not (kind == "ip" and meaning.named_ip) else ""

    def _keep(self, about: tuple[str, str], said: dict[str, float]) -> None:
        self._said.pop(about, None)
        self._said[about] = said
        if len(self._said) > _MOST_KEPT:
            del self._said[next(iter(self._said))]

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


def _kind(meaning: ReplyMeaning) -> str | None:
    """What a receiver blocks: `ip`, `domain`, `content` or `rate`; None where it blocks nothing of ours."""
    if meaning.reason is Reason.RATE_LIMITED:
        return "rate" if meaning.scope in (Scope.RATE, Scope.IP) else None  # some limit what one recipient is sent
    if meaning.level is not Level.BLOCK or meaning.reason is Reason.VIRUS:
        return None
    return meaning.scope.value if meaning.scope in (Scope.IP, Scope.DOMAIN, Scope.CONTENT) else None


def reply_blocks(settings: Settings, store: Store, now: Callable[[], float]) -> ReplyBlocks:
    """The watch over the IPs of all pools."""
    ips = {text for pool in settings.pools.named.values() for one in pool.ips for text in (one.ip, one.ip6) if text}
    return ReplyBlocks(store, frozenset(ips), now)
