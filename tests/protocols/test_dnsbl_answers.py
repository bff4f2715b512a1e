"""Blocklists: names to ask, what answers mean, and lists that lie."""

import contextlib
import ipaddress
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.dnsbl import (
    Clear,
    Dialect,
    Health,
    Listed,
    Rcode,
    Reply,
    Trouble,
    Unknown,
    addresses,
    believed,
    canaries,
    judge,
    name_of_address,
    name_of_domain,
    read,
    to_ascii,
)


def answer(*values, rcode=Rcode.NOERROR):
    return Reply(rcode, values, 60)


def test_an_ipv4_address_is_asked_backwards():
    """RFC 5782 2.1's own example."""
    assert name_of_address(ipaddress.ip_address("192.0.2.99"), "bad.example.com") == "99.2.0.192.bad.example.com"


def test_an_ipv6_address_is_asked_by_nibbles():
    """RFC 5782 2.4's own example."""
    found = name_of_address(ipaddress.ip_address("2001:db8:1:2:3:4:567:89ab"), "ugly.example.com")

    assert found == "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com"


def test_a_domain_is_asked_as_dns_spells_it():
    """Case and last dot do not matter, other scripts become xn--."""
    assert name_of_domain("Example.COM.", "dbl.example") == "example.com.dbl.example"
    assert name_of_domain("bücher.example", "dbl.example") == "xn--bcher-kva.example.dbl.example"


@pytest.mark.parametrize("text", ["", ".", "a..b", "x" * 64 + ".example", "a b.example", "joe@example.com", "\0"])
def test_what_is_no_domain_is_refused(text):
    """Nothing else gets into a question."""
    with pytest.raises(ValueError, match=r".*"):
        name_of_domain(text, "dbl.example")


@given(st.text(max_size=300))
def test_any_text_is_a_domain_or_refused(text):
    """Garbage raises ValueError and nothing else."""
    with contextlib.suppress(ValueError):
        assert to_ascii(text).isascii()


def test_a_range_is_never_held_as_a_whole():
    """A /8 or an IPv6 /32 can be walked from its start."""
    assert [str(one) for one in islice(addresses("10.0.0.0/8"), 2)] == ["10.0.0.0", "10.0.0.1"]
    assert str(next(addresses("2001:db8::/32"))) == "2001:db8::"
    assert len(list(addresses("192.0.2.9/22"))) == 1024


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (answer("127.0.0.2"), Listed(("127.0.0.2",))),
        (answer("127.0.0.10", "127.0.0.4", "127.0.0.4"), Listed(("127.0.0.4", "127.0.0.10"))),
        (answer(rcode=Rcode.NXDOMAIN), Clear()),
        (answer(), Clear()),
    ],
)
def test_listed_and_clear(reply, wanted):
    """An address of 127/8 is a listing, no such name is none."""
    assert read(reply) == wanted


@pytest.mark.parametrize(
    ("reply", "trouble"),
    [
        (answer("127.255.255.252"), Trouble.BLOCKED),
        (answer("127.255.255.254"), Trouble.BLOCKED),
        (answer("127.255.255.255"), Trouble.BLOCKED),
        (answer("127.0.0.2", "127.255.255.254"), Trouble.BLOCKED),
        (answer("127.0.0.1"), Trouble.FOREIGN),
        (answer("203.0.113.9"), Trouble.FOREIGN),
        (answer("127.0.0.2", "203.0.113.9"), Trouble.FOREIGN),
        (answer("::1"), Trouble.FOREIGN),
        (answer(rcode=Rcode.SERVFAIL), Trouble.SILENT),
        (answer(rcode=Rcode.TIMEOUT), Trouble.SILENT),
        (answer(rcode=Rcode.OTHER), Trouble.SILENT),
        (answer(rcode=Rcode.REFUSED), Trouble.BLOCKED),
    ],
)
def test_no_error_is_a_listing_and_none_is_clean(reply, trouble):
    """Error codes, foreign addresses and silence are unknown."""
    found = read(reply)

    assert isinstance(found, Unknown) and found.trouble is trouble and found.why


@given(st.sampled_from(Rcode), st.lists(st.text(max_size=20) | st.ip_addresses().map(str), max_size=5))
def test_only_addresses_of_127_are_ever_listings(rcode, values):
    """Whatever comes back."""
    found = read(Reply(rcode, tuple(values)))

    if isinstance(found, Listed):
        assert set(found.codes) == set(values)
        assert all(code.startswith("127.") and not code.startswith("127.255.255.") for code in found.codes)


def test_a_list_may_have_codes_of_its_own():
    """URIBL refuses by 127.0.0.1; Hostkarma praises by it."""
    refusing = Dialect(refusals={"127.0.0.1": "blocked"})
    praising = Dialect(not_listed=frozenset({"127.0.0.1"}))

    assert isinstance(read(answer("127.0.0.1"), refusing), Unknown)
    assert read(answer("127.0.0.1"), praising) == Clear()
    assert read(answer("127.0.0.1", "127.0.0.3"), praising) == Listed(("127.0.0.3",))


def test_the_test_points_are_those_of_the_rfc():
    """RFC 5782 5: 127.0.0.2 and .1, the same mapped into IPv6, TEST and INVALID."""
    assert canaries("bl.example", "ipv4").listed == "2.0.0.127.bl.example"
    assert canaries("bl.example", "ipv4").clear == "1.0.0.127.bl.example"
    six = canaries("bl.example", "ipv6")
    assert six.listed == "2.0.0.0.0.0.f.7.f.f.f.f." + "0." * 20 + "bl.example"
    assert six.clear == "1.0.0.0.0.0.f.7.f.f.f.f." + "0." * 20 + "bl.example"
    assert canaries("dbl.example", "domain").listed == "test.dbl.example"
    assert canaries("dbl.example", "domain", "dbltest.com").listed == "dbltest.com.dbl.example"
    assert canaries("dbl.example", "domain").clear == "invalid.dbl.example"


TWO, NONE, SILENT = Listed(("127.0.0.2",)), Clear(), Unknown(Trouble.SILENT, "no answer in time")
BLOCKED, FOREIGN = read(answer("127.255.255.254")), read(answer("203.0.113.9"))


@pytest.mark.parametrize(
    ("listed", "clear", "health"),
    [
        (TWO, NONE, Health.GOOD),
        (TWO, TWO, Health.LISTS_THE_WORLD),
        (FOREIGN, FOREIGN, Health.LISTS_THE_WORLD),
        (NONE, NONE, Health.LISTS_NOTHING),
        (SILENT, SILENT, Health.DEAD),
        (TWO, SILENT, Health.DEAD),
        (BLOCKED, BLOCKED, Health.BLOCKED),
        (BLOCKED, NONE, Health.BLOCKED),
    ],
)
def test_lists_that_lie_are_found_out(listed, clear, health):
    """What the two test points say together, and what an answer is then worth."""
    found, why = judge(listed, clear)

    assert found is health
    for one in (TWO, NONE):
        assert (
            believed(one, found, why) == one
            if health is Health.GOOD
            else isinstance(believed(one, found, why), Unknown)
        )


def test_a_list_without_test_points_is_believed_untested():
    """As long as it does not list what must not be listed."""
    assert judge(NONE, NONE, has_test_point=False)[0] is Health.UNTESTED
    assert judge(TWO, TWO, has_test_point=False)[0] is Health.LISTS_THE_WORLD
