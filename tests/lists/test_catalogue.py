"""The catalogue: facts that hang together, and what operators make of it."""

import datetime

import pytest

from penstock.lists.catalogue import Choice, chosen_lists, known_lists, read_choice, shipped
from penstock.protocols.dnsbl import Listed, Rcode, Reply, Unknown, read, to_ascii
from penstock.sending import Severity

KNOWN = known_lists()
CODES = [(one, *row) for one in KNOWN for row in one.codes]
BITS = [(one, *row) for one in KNOWN for row in one.bits]
REFUSALS = [(one, code) for one in KNOWN for code in one.refusals]


def test_there_are_at_least_fifty_living_lists():
    """And the dead ones are never asked."""
    assert sum(not one.dead for one in KNOWN) >= 50
    assert not [one for one in chosen_lists() if one.dead]
    assert {"sorbs", "nixspam"} <= {one.name for one in KNOWN if one.dead}


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: one.name)
def test_every_list_says_where_its_facts_come_from(one):
    """Zone, source, and for the living how to get off, by whom it is run, and why one is on it."""
    assert one.source.startswith("http") and to_ascii(one.zone or one.key_zone.replace("{key}", "k"))
    if not one.dead:
        assert (
            one.title and one.operator and one.delist.startswith("http") and one.terms and one.causes and one.dislikes
        )
    assert one.key_zone.count("{key}") == bool(one.key_zone)


def test_names_and_zones_are_their_own():
    """No two entries speak of the same thing."""
    names, zones = [one.name for one in KNOWN], [one.zone or one.key_zone for one in KNOWN]

    assert len(set(names)) == len(names) and len(set(zones)) == len(zones)
    datetime.date.fromisoformat(shipped().checked)


def ends(code):
    """The first and last code of a range."""
    head, _, last = code.rpartition(".")
    low, _, high = last.partition("-")
    return (f"{head}.{low}", f"{head}.{high or low}")


@pytest.mark.parametrize(("one", "code", "severity", "meaning"), CODES, ids=lambda v: getattr(v, "name", str(v)))
def test_every_code_means_what_it_says(one, code, severity, meaning):
    """The answer is read as a listing, with this meaning and severity, alone and beside an unknown code."""
    for value in ends(code):
        answer = read(Reply(Rcode.NOERROR, (value,)), one.dialect())

        assert answer == Listed((value,))
        assert one.explain(answer.codes) == ((meaning,), severity)
    meanings, gravest = one.explain((ends(code)[0], "127.9.9.9"))
    assert meanings == (meaning,) and gravest.rank >= severity.rank


@pytest.mark.parametrize(("one", "bit", "severity", "meaning"), BITS, ids=lambda v: getattr(v, "name", str(v)))
def test_every_bit_means_what_it_says(one, bit, severity, meaning):
    """Alone, and in a sum."""
    assert one.explain((f"127.0.0.{bit}",)) == ((meaning,), severity)
    everything = sum(row[0] for row in one.bits)
    assert meaning in one.explain((f"127.0.0.{everything}",))[0]


@pytest.mark.parametrize(("one", "code"), REFUSALS, ids=lambda v: getattr(v, "name", str(v)))
def test_no_refusal_is_a_listing(one, code):
    """A list's own word for "you may not ask" is unknown."""
    assert isinstance(read(Reply(Rcode.NOERROR, (code,)), one.dialect()), Unknown)


def test_policy_entries_are_no_offence():
    """The PBL says how a network is meant, not that it sent spam."""
    zen = next(one for one in KNOWN if one.name == "spamhaus-zen")

    assert zen.explain(("127.0.0.10",))[1] is zen.explain(("127.0.0.11",))[1] is Severity.NONE
    assert zen.explain(("127.0.0.10", "127.0.0.4"))[1] is Severity.HIGH


def test_an_unknown_code_is_a_listing_without_a_meaning():
    """A wrong meaning would be worse than none."""
    spamcop = next(one for one in KNOWN if one.name == "spamcop")

    assert spamcop.explain(("127.0.0.99",)) == ((), Severity.HIGH)


def test_a_key_opens_its_zone_and_is_never_shown():
    """One key serves all lists of its operator."""
    chosen = {one.name: one for one in chosen_lists(Choice(keys={"spamhaus": "abc123", "abusix": "xyz789"}))}

    assert chosen["spamhaus-zen"].asked == "abc123.zen.dq.spamhaus.net"
    assert chosen["abusix"].asked == "xyz789.combined.mail.abusix.zone"
    assert chosen["spamhaus-zen"].zone == "zen.spamhaus.org"
    assert "abusix" not in {one.name for one in chosen_lists()}


def test_operators_add_override_and_turn_off():
    """By a file in the catalogue's own form."""
    choice = read_choice(
        'disable = ["sorbs", "spamcop"]\nenable = ["mailspike-z"]\n'
        '[[list]]\nname = "psbl"\nzone = "psbl.mirror.example"\nper_second = 0\n'
        '[[list]]\nname = "ours"\nzone = "bl.example"\nkind = "both"\nseverity = "high"\n'
    )
    chosen = {one.name: one for one in chosen_lists(choice)}

    assert chosen["psbl"].asked == "psbl.mirror.example" and chosen["psbl"].codes
    assert chosen["ours"].takes("domain") and chosen["ours"].takes("ipv4") and not chosen["ours"].takes("ipv6")
    assert "spamcop" not in chosen and "mailspike-z" in chosen
    only = read_choice('only = true\n[[list]]\nname = "ours"\nzone = "bl.example"\n')
    assert [one.name for one in chosen_lists(only)] == ["ours"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("nonsense", "not a lists file"),
        ("[[list]]\nzone = 'bl.example'", "no name"),
        ("[[list]]\nname = 'x'", "no zone"),
        ("[[list]]\nname = 'x'\nzone = 'a b'", "no domain"),
        ("[[list]]\nname = 'x'\nzone = 'bl.example'\nseverity = 'awful'", 'list "x"'),
        ("[[list]]\nname = 'x'\nzone = 'bl.example'\ncolour = 'red'", 'list "x"'),
        ("disable = ['nope']", 'no list is named "nope"'),
        ("colour = 'red'", "not a lists file"),
    ],
)
def test_mistakes_are_told(text, wanted):
    """With the list that is meant."""
    with pytest.raises(ValueError, match=wanted):
        chosen_lists(read_choice(text))
