"""Which pool and which sending IP a message leaves through."""

from collections import Counter

import pytest

from penstock.judge.pools import LEVELS, Live, Pool, Pools, choose_pool, find_route, level_of, pick, settle
from penstock.judge.warmup import DAY_S, Seen, WarmUp, count, used_on
from penstock.model import Kind, Standing, transport_name
from penstock.sending import Pin, SendingIp

CHOICES = {"poor": "suspect", "bulk": "bulk", "trusted/bulk": "good-bulk", "default": "normal"}
NOW = 1_800_000_000.0
IPS = tuple(SendingIp(f"192.0.2.{number}") for number in range(1, 6))
POOLS = Pools(
    {"default": "normal", "poor": "risk"}, {"normal": Pool(IPS, "risk"), "risk": Pool((SendingIp("192.0.2.66"),))}
)
ACCOUNTS = [f"sasl:c{number}@example.com" for number in range(2000)]


def way(account, pools=POOLS, live=Live(), level="normal", *, has_room=False, now=NOW):  # noqa: B008
    route = find_route(pools, live, account, level, Kind.NORMAL, now=now)
    return pick(route, pools.warm_up, now, has_room=has_room)


@pytest.mark.parametrize(
    ("level", "kind", "pool"),
    [
        ("normal", Kind.NORMAL, "normal"),
        ("normal", Kind.BULK, "bulk"),
        ("trusted", Kind.BULK, "good-bulk"),
        ("poor", Kind.BULK, "suspect"),
        ("poor", Kind.NORMAL, "suspect"),
        ("suspect", Kind.NORMAL, "suspect"),
    ],
)
def test_the_most_specific_choice_wins(level, kind, pool):
    """A poor account's newsletter is first of all a poor account's."""
    assert choose_pool(level, kind, CHOICES) == pool


def test_nothing_configured_names_no_pool():
    """Without pools no header is written."""
    assert choose_pool("normal", Kind.NORMAL, {}) == ""


def test_an_account_keeps_its_ip_and_ips_share_the_accounts():
    """The same account, the same IP; two thousand accounts spread evenly within a tenth."""
    shares = Counter(way(one) for one in ACCOUNTS)

    assert all(way(one) == way(one) for one in ACCOUNTS[:50])
    assert len(shares) == 5
    assert all(340 < shares["normal", one.ip] < 460 for one in IPS)


def test_draining_one_ip_moves_its_own_accounts_only():
    """And they go back to it afterwards."""
    drained = Live(frozenset({"192.0.2.3"}))
    before = {one: way(one) for one in ACCOUNTS}
    after = {one: way(one, live=drained) for one in ACCOUNTS}

    assert {before[one][1] for one in ACCOUNTS if before[one] != after[one]} == {"192.0.2.3"}
    assert "192.0.2.3" not in {ip for _, ip in after.values()}


def test_a_pool_without_a_usable_ip_falls_back_and_the_last_one_names_nothing():
    """Mail still leaves, by the fallback's IP or by the next hop's own way."""
    normal = frozenset(one.ip for one in IPS)

    assert way(ACCOUNTS[0], live=Live(normal)) == ("risk", "192.0.2.66")
    assert way(ACCOUNTS[0], live=Live(normal | {"192.0.2.66"})) == ("", "")


def test_a_pin_goes_before_the_table_until_it_ends():
    """A person's pool, and their IP of it while that is usable."""
    pin = Pin(ACCOUNTS[0], "normal", NOW, "ann", ip="192.0.2.4", until=NOW + 60)
    live = Live(pins={ACCOUNTS[0]: pin})

    assert way(ACCOUNTS[0], live=live, level="poor") == ("normal", "192.0.2.4")
    assert way(ACCOUNTS[0], live=live, level="poor", now=NOW + 61)[0] == "risk"
    assert way(ACCOUNTS[0], live=Live(frozenset({"192.0.2.4"}), live.pins), level="poor")[0] == "normal"
    assert way(ACCOUNTS[1], live=live, level="poor")[0] == "risk"


def test_an_account_falls_at_once_and_rises_once_in_a_while():
    """Poor right away; normal again only after the hours that are configured; every change is told once."""
    place, kept = settle(None, "normal", NOW, 3600.0)
    assert (place.level, kept is not None) == ("normal", True)
    place, kept = settle(kept, "poor", NOW + 1, 3600.0)
    assert (place.level, place.since) == ("poor", NOW + 1)
    assert settle(kept, "normal", NOW + 3000, 3600.0) == (place, None)
    assert settle(kept, "suspect", NOW + 3000, 3600.0)[0].level == "suspect"
    assert settle(kept, "trusted", NOW + 3602, 3600.0)[0].level == "trusted"


@pytest.mark.parametrize(
    ("standing", "score", "level"),
    [
        (Standing.POOR, 3.0, "poor"),
        (Standing.POOR, 8.0, "suspect"),
        (Standing.NORMAL, 8.0, "normal"),
        (Standing.SUSPENDED, 0.0, "suspect"),
    ],
)
def test_a_poor_account_with_much_against_it_is_suspect(standing, score, level):
    """One group of evidence alone makes nobody suspect: the standing must have fallen already."""
    assert level_of(standing, score, 7.0) == level
    assert level in LEVELS


WARM_UP = WarmUp({"gmail": (2, 4), "other": (3, 6)}, {"gmail.com": "gmail", "yahoo.*": "yahoo"})
FRESH = SendingIp("192.0.2.9", warming_since=NOW - NOW % DAY_S)


def test_a_warming_ip_takes_its_share_and_the_warm_ones_the_rest():
    """The third message to Gmail on the first day leaves by a warm IP; others have a share of their own."""
    pools = Pools({"default": "normal"}, {"normal": Pool((*IPS, FRESH))}, warm_up=WARM_UP)
    mine = next(one for one in ACCOUNTS if way(one, pools, has_room=True)[1] == FRESH.ip)
    data, rooms = None, []
    for to in ("a@gmail.com", "b@gmail.com", "c@gmail.com", "d@x.example", "e@x.example"):
        kept, has_room = count(data, WARM_UP, FRESH, [to], NOW)
        data = kept or data
        rooms.append(has_room)

    assert rooms == [True, True, False, True, True]
    assert used_on(data, FRESH, NOW).counts == {"gmail": 2, "other": 2}
    assert way(mine, pools, has_room=False)[1] in {one.ip for one in IPS}
    assert used_on(data, FRESH, NOW + DAY_S).counts == {}


def test_a_message_to_several_groups_needs_room_in_each():
    """It is counted whole or not at all."""
    recipients = ["a@x.example", "b@GMail.com", "c@gmail.com", "d@gmail.com"]

    assert count(None, WARM_UP, FRESH, recipients, NOW) == (None, False)
    assert count(None, WARM_UP, FRESH, recipients[:3], NOW)[1]


def test_an_ip_is_warm_after_its_last_day():
    """Then it takes whatever comes, and nobody counts any more."""
    pools = Pools({"default": "normal"}, {"normal": Pool((FRESH,))}, warm_up=WARM_UP)

    assert [WARM_UP.is_warm(FRESH, NOW + day * DAY_S) for day in (0, 1, 2)] == [False, False, True]
    assert pools.has_warming(NOW)
    assert not pools.has_warming(NOW + 2 * DAY_S)
    assert WARM_UP.cap(FRESH, "gmail", NOW + DAY_S) == 4
    assert WARM_UP.group_of("x@yahoo.co.uk") == "yahoo"


def test_no_mail_waits_for_a_warm_up():
    """A pool of warming IPs overflows into its fallback's warm ones, and goes over its cap where there is none."""
    alone = Pools({"default": "normal"}, {"normal": Pool((FRESH,))}, warm_up=WARM_UP)
    backed = Pools({"default": "normal"}, {"normal": Pool((FRESH,), "old"), "old": Pool(IPS)}, warm_up=WARM_UP)

    assert way(ACCOUNTS[0], alone) == ("normal", FRESH.ip)
    assert way(ACCOUNTS[0], backed)[0] == "old"
    assert way(ACCOUNTS[0], backed, has_room=True) == ("normal", FRESH.ip)


@pytest.mark.parametrize(
    ("pool", "ip", "name"),
    [("normal", "", "normal"), ("normal", "192.0.2.7", "normal-192-0-2-7"), ("n", "2001:db8::7", "n-2001-db8--7")],
)
def test_a_transport_is_named_after_pool_and_ip(pool, ip, name):
    """In signs that Postfix and Exim take, without the colon that would end a transport's name."""
    assert transport_name(pool, ip) == name


def test_an_ip_that_has_rested_too_long_begins_again():
    """Idle for thirty days, seen so or told by the first message after it; one that nobody has ever seen stays warm."""
    seen, month, today = Seen(), 30 * DAY_S, NOW - NOW % DAY_S
    for ip, last in (("192.0.2.1", NOW - 40 * DAY_S), ("192.0.2.2", NOW - 40 * DAY_S), ("192.0.2.3", 0.0)):
        seen.note_use(SendingIp(ip), last, NOW - 39 * DAY_S, month)
    seen.note_use(IPS[0], NOW - 40 * DAY_S, NOW, month)
    seen.note_use(IPS[1], NOW - 5.0, NOW, month)
    seen.note_use(IPS[2], 0.0, NOW, month)
    pools = Pools({"default": "normal"}, {"normal": Pool(IPS)}, warm_up=WARM_UP).as_seen(seen)

    assert seen.anew == {"192.0.2.1": today, "192.0.2.2": today}
    assert {one.ip: one.warming_since for one in pools.named["normal"].ips if one.warming_since} == seen.anew
    seen.note_use(IPS[0], NOW, NOW, month)
    seen.note_use(IPS[0], NOW + 5 * DAY_S, NOW + 5 * DAY_S, month)
    assert seen.anew["192.0.2.1"] == today  # and it goes on from there


def test_days_without_mail_are_no_days_of_a_warm_up():
    """It sends on its first day and, after four quiet ones, goes on with its second; a long use is never taken back."""
    seen, day = Seen(), NOW - NOW % DAY_S
    old = SendingIp("192.0.2.8", warming_since=day - 90 * DAY_S)
    for hour in range(24 * 7):
        now = day + hour * 3600.0 + 60.0
        sent = now - 30.0 if hour // 24 in (0, 5, 6) else 0.0
        seen.note_use(FRESH, sent, now, 30 * DAY_S)
        seen.note_use(old, now - 10.0, now, 30 * DAY_S)
        caps = WARM_UP.cap(SendingIp(FRESH.ip, warming_since=seen.warming_since(FRESH)), "gmail", now)
        if hour == 24 * 5 + 23:
            assert caps == 4

    assert seen.idle[FRESH.ip][0] == 4
    assert (caps, seen.warming_since(old)) == (None, old.warming_since)


def test_an_ip_that_waits_for_its_first_mail_waits_with_its_whole_warm_up():
    """Set up on Monday and used on Friday, it begins with the share of the first day."""
    seen, day = Seen(), NOW - NOW % DAY_S
    for number in range(5):
        seen.note_use(FRESH, 0.0, day + number * DAY_S + 60.0, 30 * DAY_S)

    friday = day + 4 * DAY_S + 120.0
    assert WARM_UP.cap(SendingIp(FRESH.ip, warming_since=seen.warming_since(FRESH)), "gmail", friday) == 2


def test_a_domain_belongs_to_the_group_of_its_mx():
    """Where its own name does not tell; what was asked in vain is among the others."""
    seen = Seen(hosted={"shop.example": ("gmail", NOW), "alone.example": ("", NOW), "yahoo.com": ("gmail", NOW)})
    warm_up = Pools(warm_up=WARM_UP).as_seen(seen).warm_up

    found = [warm_up.group_of(f"a@{one}") for one in ("Shop.example", "alone.example", "yahoo.com", "new.example")]
    assert found == ["gmail", "other", "yahoo", "other"]
