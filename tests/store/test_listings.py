"""The contract about listings: what was seen on lists is kept once, with its history, in order."""

import asyncio

from msgspec.structs import replace
from test_contract import T0, backend, store  # noqa: F401  # the fixtures of the contract

from penstock.sending import Listing, ListingChange, Severity

ZEN = Listing("192.0.2.7", "spamhaus-zen", T0, T0, codes=("127.0.0.2",), text="see SBL1", severity=Severity.HIGH)


def seen(listing=ZEN, what="listed", at=T0, **more):
    return ListingChange(at, what, replace(listing, last_seen=at), **more)


async def test_a_listing_is_kept_with_its_change(store):  # noqa: F811
    """What is listed can be asked for, and why."""
    await store.record_listings([seen(is_baseline=True)])

    assert await store.listings() == [ZEN]
    (change,) = await store.listing_changes(after=0)
    assert (change.number, change.what, change.is_baseline, change.listing) == (1, "listed", True, ZEN)


async def test_seeing_it_again_moves_only_the_time(store):  # noqa: F811
    """A second look at a known listing is no change, whoever brings it."""
    await store.record_listings([seen()])
    await store.record_listings([seen(replace(ZEN, since=T0 + 60), at=T0 + 60)])

    assert await store.listings() == [replace(ZEN, last_seen=T0 + 60)]
    assert len(await store.listing_changes(after=0)) == 1


async def test_other_codes_are_a_change(store):  # noqa: F811
    """From the automatic list to the manual one is news; the time since when stays."""
    await store.record_listings([seen()])
    await store.record_listings([seen(replace(ZEN, codes=("127.0.0.4",), since=T0 + 9), at=T0 + 9)])

    (change,) = await store.listing_changes(after=1)
    assert (change.number, change.what, change.before) == (2, "changed", ("127.0.0.2",))
    assert (change.listing.codes, change.listing.since) == (("127.0.0.4",), T0)


async def test_a_cleared_listing_stays_in_the_history(store):  # noqa: F811
    """After it is gone it is asked for by `current_only=False`; a new one begins anew."""
    await store.record_listings([seen()])
    await store.record_listings([seen(what="cleared", at=T0 + 60)])
    await store.record_listings([seen(what="cleared", at=T0 + 70)])

    assert await store.listings() == []
    again = replace(ZEN, since=T0 + 99, last_seen=T0 + 99)
    await store.record_listings([seen(again, at=T0 + 99)])
    assert await store.listings() == [again]
    assert await store.listings(current_only=False) == [replace(ZEN, until=T0 + 60), again]
    assert [one.what for one in await store.listing_changes(after=0)] == ["listed", "cleared", "listed"]


async def test_listings_are_found_by_target(store):  # noqa: F811
    """One IP's listings, and no others."""
    other = replace(ZEN, target="2001:db8::1", list="receiver:gmail")
    await store.record_listings([seen(), seen(other), seen(replace(ZEN, list="psbl"))])

    assert [one.list for one in await store.listings(target="192.0.2.7")] == ["psbl", "spamhaus-zen"]
    assert await store.listings(target="2001:db8::1") == [other]


async def test_changes_are_read_in_pages_and_none_is_missed(backend):  # noqa: F811
    """Two processes write at once; a reader that keeps its position sees each change once, in order."""
    ours, theirs = await backend.open(), await backend.open()
    rows = [seen(replace(ZEN, target=f"192.0.2.{number}")) for number in range(40)]
    await asyncio.gather(*((ours, theirs)[index % 2].record_listings([row]) for index, row in enumerate(rows)))

    found, after = [], 0
    while page := await theirs.listing_changes(after=after, limit=7):
        found += page
        after = page[-1].number
    assert [one.number for one in found] == sorted({one.number for one in found})
    assert {one.listing.target for one in found} == {row.listing.target for row in rows}
