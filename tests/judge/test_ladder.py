"""The smallest guilty thing is chosen, what must stay is never chosen, and a driver shuts what it can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.judge.ladder import choose, fit, owner_of, read_never
from penstock.model import Rung, Thing

JOE = "sasl:joe@shop.example"
MATES = [f"sasl:{name}@shop.example" for name in ("ann", "bob", "cid", "dan")]


@pytest.mark.parametrize(
    ("account", "thing"),
    [
        ("host:192.0.2.7", "source 192.0.2.7"),
        ("script:1017:/home/x/mail.php", "script 1017:/home/x/mail.php"),
        ("app:joe@shop.example/phone", "application-password joe@shop.example/phone"),
        (JOE, "mailbox joe@shop.example"),
        ("user:1017", "account 1017"),
        ("header:cust-9", "account cust-9"),
        ("sender:joe@shop.example", "None"),
        ("none:unidentified", "None"),
    ],
)
def test_the_first_time_the_smallest_thing_is_shut(account, thing):
    """What nobody vouches for is shut nowhere but here."""
    assert str(choose(account)) == thing


def test_what_turns_up_again_or_has_company_is_shut_one_rung_higher():
    """An application password again: its mailbox. Three scripts of one owner: the owner. Five mailboxes: the domain."""
    assert str(choose("app:joe@shop.example/phone", strikes=2)) == "mailbox joe@shop.example"
    others = ["script:/home/x/a.php", "script:/home/x/b.php", "script:/home/y/c.php"]
    assert str(choose("script:/home/x/c.php", company=others[1:])) == "script /home/x/c.php"
    assert str(choose("script:/home/x/c.php", company=others)) == "account x"
    assert str(choose("script:/home/x/c.php", strikes=3)) == "account x"
    assert str(choose(JOE, company=MATES, domain_after=5)) == "domain shop.example"
    assert str(choose(JOE, company=MATES, domain_after=6)) == "mailbox joe@shop.example"
    assert str(choose(JOE, company=MATES)) == "mailbox joe@shop.example"


def test_what_must_stay_is_never_chosen_and_the_smaller_thing_goes_instead():
    """Own addresses, exempt accounts, named domains and networks; a domain with an own address in it stays whole."""
    never = read_never(["user:1017", "script:/a.php"], ["Abuse@shop.example"], ["192.0.2.0/24", "vip.example", "root"])
    assert choose("sasl:abuse@shop.example", never=never) is None
    assert str(choose(JOE, company=MATES, domain_after=5, never=never)) == "mailbox joe@shop.example"
    assert choose("sasl:ann@vip.example", never=never) is None
    assert choose("host:192.0.2.7", never=never) is None
    assert choose("host:127.0.0.1", never=never) is None
    assert str(choose("host:198.51.100.1", never=never)) == "source 198.51.100.1"
    assert choose("user:1017", never=never) is None
    assert choose("script:/a.php", never=never) is None
    assert choose("script:root:/x.php", never=never) is None
    assert choose("app:abuse@shop.example/phone", never=never) is None
    assert never.forbids(Thing(Rung.SOURCE, "nonsense"))


def test_a_script_is_its_owners():
    """By its home, the id before its colon, or the site at its front."""
    assert owner_of("1017:/home2/shop/mail.php") == "shop"
    assert owner_of("1017:mail.php") == "1017"
    assert owner_of("shop.example/wp/mail.php") == "shop.example"


def test_a_driver_shuts_the_next_larger_thing_only_where_it_belongs_to_the_same_hands():
    """A script widens to its owner, an application password to its mailbox; a mailbox to nothing."""
    assert fit(Thing(Rung.SCRIPT, "/home/x/m.php"), {Rung.ACCOUNT}) == Thing(Rung.ACCOUNT, "x")
    assert fit(Thing(Rung.PASSWORD, "joe@x/phone"), {Rung.MAILBOX}) == Thing(Rung.MAILBOX, "joe@x")
    assert fit(Thing(Rung.MAILBOX, "joe@x"), {Rung.DOMAIN, Rung.ACCOUNT}) is None
    assert fit(Thing(Rung.DOMAIN, "x"), {Rung.DOMAIN}) == Thing(Rung.DOMAIN, "x")


@given(st.sampled_from(["host", "script", "app", "sasl", "user", "x"]), st.text(min_size=1, max_size=40))
def test_no_name_breaks_the_choice(kind, value):
    """Accounts are called as strangers please."""
    name = f"{kind}:{value}"
    chosen = choose(name, strikes=3, company=[name, "script:", "sasl:@"], domain_after=1, never=read_never([], [], []))
    assert chosen is None or chosen.name
