"""What a look at a list makes of a listing that is known: the one rule for all backends."""

from __future__ import annotations

from msgspec.structs import replace

from penstock.sending import Listing, ListingChange


def settle(current: Listing | None, seen: ListingChange) -> tuple[Listing | None, ListingChange | None]:
    """The listing to keep and the change to note, where there is one.

    `current` is the open listing of the same target and list. Seeing again what is known moves `last_seen` only, and
    clearing what is not listed does nothing, so that whoever looks may say so twice.
    """
    listing = seen.listing
    if seen.what == "cleared":
        if current is None:
            return None, None
        gone = replace(current, until=seen.at)
        return gone, replace(seen, listing=gone, before=current.codes)
    if current is None:
        fresh = replace(listing, until=0.0)
        return fresh, replace(seen, what="listed", listing=fresh, before=())
    kept = replace(listing, since=current.since, last_seen=max(seen.at, current.last_seen), until=0.0)
    if kept.codes == current.codes:
        return kept, None
    return kept, replace(seen, what="changed", listing=kept, before=current.codes)
