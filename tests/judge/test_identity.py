"""Attribution: whose mail is this, and what strangers may not claim."""

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.judge.identity import Extractor, Identity, Tenancy, is_in, network_of, read_tenancy
from penstock.model import Account, Connection, Envelope

SCRIPT = re.compile(r"^\s*(\d+:[^\s(]+)")
SENDER = re.compile(r"\(Authenticated sender: ([^)\s]+)\)")
RULES = Identity(
    extractors=(
        Extractor("login", "sasl"),
        Extractor("header", "user", "x-penstock-uid"),
        Extractor("header", "sasl", "x-authuser"),
        Extractor("header", "script", "x-php-originating-script", SCRIPT),
        Extractor("header", "sasl", "received", SENDER),
        Extractor("client", "host"),
        Extractor("sender", "sender"),
    ),
    trusted_hosts=(ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("10.1.0.0/16")),
    tenancy=Tenancy({"@shop.example": ("reseller-7", "gold"), "user:web12": ("acme", "")}),
)
ENVELOPE = Envelope("Joe@Shop.example", ("a@b.example",))
WEB = Connection(client_ip="10.1.2.3", peer_ip="10.1.2.3", is_trusted_peer=True)
STRANGER = Connection(client_ip="192.0.2.9", peer_ip="192.0.2.9", is_trusted_peer=False)
PROXIED = Connection(listener="smtp", client_ip="192.0.2.9", peer_ip="127.0.0.1", is_trusted_peer=True)


def who(connection, *headers, envelope=ENVELOPE):
    return str(RULES.attribute(connection, envelope, headers).account)


def test_a_login_outranks_everything():
    """A login that the listener vouches for is the account, whatever headers say; logins are case-blind."""
    connection = Connection(client_ip="10.1.2.3", login="Ann@Shop.example", is_trusted_peer=True)

    assert who(connection, ("x-authuser", "eve@evil.example")) == "sasl:ann@shop.example"


def test_a_trusted_host_may_name_the_account():
    """A web server's identity header counts, whole or by its group."""
    assert who(WEB, ("x-authuser", " joe@shop.example ")) == "sasl:joe@shop.example"
    assert who(WEB, ("x-php-originating-script", "33:Mail.php(4) : eval()'d code")) == "script:33:Mail.php"
    assert who(WEB, ("x-penstock-uid", "1004")) == "user:1004"


def test_a_stranger_cannot_claim_an_identity():
    """Identity headers of hosts that are not trusted are ignored: the client's address is what remains."""
    assert who(STRANGER, ("x-authuser", "joe@shop.example")) == "host:192.0.2.9"
    assert who(STRANGER, ("received", "from x (Authenticated sender: joe@shop.example)")) == "host:192.0.2.9"


def test_behind_a_proxy_only_what_the_proxy_wrote_counts():
    """Headers above and including the proxy's own Received line are its own; everything below is the client's."""
    line = ("received", "from pc (pc [192.0.2.9]) (Authenticated sender: joe@shop.example) by mx")

    assert who(PROXIED, line, ("x-authuser", "eve@evil.example")) == "sasl:joe@shop.example"
    assert who(PROXIED, ("x-authuser", "joe@shop.example"), line) == "sasl:joe@shop.example"
    assert who(PROXIED, ("received", "from pc by mx"), ("received", line[1])) == "host:192.0.2.9"
    assert who(PROXIED, ("x-authuser", "eve@evil.example")) == "host:192.0.2.9"


def test_over_a_milter_a_strangers_headers_never_count():
    """Postfix hides its own Received line from milters: whatever stands on top is the stranger's."""
    from msgspec.structs import replace

    milter = replace(PROXIED, listener="milter")
    forged = (("x-authuser", "victim@shop.example"), ("received", "from a by b"))

    assert who(milter, *forged) == "host:192.0.2.9"


def test_a_trusted_host_is_no_account_by_its_address():
    """A smarthost speaks for many: without identity the envelope sender is used, and without that, none."""
    assert who(WEB) == "sender:joe@shop.example"
    assert who(WEB, envelope=Envelope("", ("a@b.example",))) == "none:unidentified"


@pytest.mark.parametrize(
    ("login", "tenant", "plan"),
    [("ann@shop.example", "reseller-7", "gold"), ("ann@other.example", "other.example", ""), ("ann", "", "")],
)
def test_the_tenant_comes_from_the_table_or_the_domain(login, tenant, plan):
    """Tenants are configured by account or domain; else a login's domain is its tenant."""
    found = RULES.attribute(Connection(login=login), ENVELOPE, ())

    assert (found.account.tenant, found.plan) == (tenant, plan)


def test_sources_are_networks():
    """A phone that moves within its provider's /24 or /48 is one source; mapped IPv4 is IPv4."""
    assert network_of("192.0.2.77") == "192.0.2.0/24"
    assert network_of("::ffff:192.0.2.77") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2::3") == "2001:db8:1::/48"
    assert is_in("::ffff:127.0.0.1", RULES.trusted_hosts)


@given(
    st.text(),
    st.text(),
    st.lists(st.tuples(st.sampled_from(["received", "x-authuser", "x-php-originating-script"]), st.text())),
    st.booleans(),
)
def test_garbage_is_attributed_to_something(ip, login, headers, trusted):
    """Whatever comes in, attribution ends with an account that reads back from its own name."""
    connection = Connection(client_ip=ip, peer_ip=ip, login=login, is_trusted_peer=trusted)
    found = RULES.attribute(connection, Envelope(login, ()), headers)

    assert found.account.kind
    assert found.account.value


def test_tenants_and_plans_are_read_from_lines():
    """An account's own line wins over its domain's, comments are skipped, and a line that is none is named."""
    tenancy = read_tenancy("# who\n@example.org  reseller1 basic\nsasl:joe@example.org reseller1 large # Joe\n")

    assert tenancy.of(Account("sasl", "joe@example.org")) == ("reseller1", "large")
    assert tenancy.of(Account("sasl", "ann@example.org")) == ("reseller1", "basic")
    with pytest.raises(ValueError, match="line 2"):
        read_tenancy("@a.example t\njust-one-word\n")
