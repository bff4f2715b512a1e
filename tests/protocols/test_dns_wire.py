"""DNS messages, held against dnspython."""

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocols.dns_wire import BadMessage, Kind, hear, query, question
from penstock.protocols.dnsbl import Rcode

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join).filter(lambda name: len(name) < 250)


@given(NAME, st.sampled_from(Kind), st.integers(0, 65535))
def test_a_query_is_what_dnspython_reads(name, kind, id):
    """Same name, same type, same id, recursion desired."""
    read = dns.message.from_wire(query(id, question(name, kind)))

    assert (read.id, read.question[0].name, read.question[0].rdtype) == (id, dns.name.from_text(name), kind)
    assert read.flags == dns.flags.RD and len(read.question) == 1


VALUES = {
    Kind.A: st.ip_addresses(v=4).map(str),
    Kind.AAAA: st.ip_addresses(v=6).map(str),
    Kind.PTR: NAME,
    Kind.TXT: st.text("abc XYZ.:/", min_size=1, max_size=200),
}


@st.composite
def answers(draw):
    kind = draw(st.sampled_from(list(VALUES)))
    return (
        draw(NAME),
        kind,
        draw(st.lists(VALUES[kind], min_size=1, max_size=4, unique=True)),
        draw(st.integers(0, 9999)),
    )


@given(answers())
def test_an_answer_is_read_as_dnspython_wrote_it(one):
    """Values and TTL of every type that is asked for, with compressed names."""
    name, kind, values, ttl = one
    message = dns.message.make_response(dns.message.make_query(name, int(kind)))
    texts = [f'"{v}"' if kind is Kind.TXT else f"{v}." if kind is Kind.PTR else v for v in values]
    message.answer.append(dns.rrset.from_text(dns.name.from_text(name), ttl, "IN", int(kind), *texts))

    heard = hear(message.to_wire(), question(name, kind))

    assert sorted(heard.reply.values) == sorted(values) and heard.reply.ttl_s == ttl and not heard.is_cut


def test_no_is_kept_as_long_as_the_zone_says():
    """RFC 2308 5: the lesser of the SOA's TTL and its last field."""
    message = dns.message.make_response(dns.message.make_query("x.bl.example", "A"))
    message.set_rcode(dns.rcode.NXDOMAIN)
    soa = "ns.bl.example. host.bl.example. 1 600 300 86400 150"
    message.authority.append(dns.rrset.from_text("bl.example.", 300, "IN", "SOA", soa))

    reply = hear(message.to_wire(), question("x.bl.example", Kind.A)).reply

    assert (reply.rcode, reply.values, reply.ttl_s) == (Rcode.NXDOMAIN, (), 150)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP"])
def test_a_failure_is_never_nothing(rcode):
    """It has its own code."""
    message = dns.message.make_response(dns.message.make_query("x.bl.example", "A"))
    message.set_rcode(dns.rcode.from_text(rcode))
    wanted = {"SERVFAIL": Rcode.SERVFAIL, "REFUSED": Rcode.REFUSED}.get(rcode, Rcode.OTHER)

    assert hear(message.to_wire(), question("x.bl.example", Kind.A)).reply.rcode is wanted


def test_an_answer_to_another_question_is_none():
    """What a forger, or a late answer, would bring."""
    message = dns.message.make_response(dns.message.make_query("y.bl.example", "A"))

    with pytest.raises(BadMessage):
        hear(message.to_wire(), question("x.bl.example", Kind.A))


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_bad(data):
    """Nothing else is raised, and loops of pointers end."""
    asked = question("a.example", Kind.PTR)
    for message in (data, b"\0\1\x81\x80\0\1\0\3\0\0\0\0" + asked + data):
        try:
            hear(message, asked)
        except BadMessage:
            continue


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["abcdefgh"] * 40), "bücher.example"])
def test_names_that_dns_cannot_carry_are_refused(name):
    """Before anything is sent."""
    with pytest.raises(ValueError, match="DNS can carry"):
        question(name, Kind.A)
