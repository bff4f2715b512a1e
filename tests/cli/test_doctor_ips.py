"""penstock doctor per sending IP, against a real resolver."""

import errno
import ipaddress
import json

import pytest
from test_commands import call

from neighbours.dns import Unbound
from penstock.cli.doctor_ips import listed, on_this_host
from penstock.clients.dns import Resolver, ResolverSettings
from penstock.clients.spf import includes
from penstock.sending import Listing, Severity

DATA = [
    "out1.example.net. A 127.0.0.11", "11.0.0.127.in-addr.arpa. PTR out1.example.net.",
    'out1.example.net. TXT "v=spf1 a -all"',
    "wrong.example.net. A 192.0.2.99", "12.0.0.127.in-addr.arpa. PTR wrong.example.net.",
    'spf.example.net. TXT "v=spf1 include:more.example.net mx ~all"',
    'more.example.net. TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"',
    "spf.example.net. MX 10 out1.example.net.",
    'round.example.net. TXT "v=spf1 include:round.example.net -all"',
    'other.example.net. TXT "v=spf1 redirect=more.example.net"',
    'macro.example.net. TXT "v=spf1 exists:%{i}.x.example -all"',
    'plain.example.net. TXT "not spf"',
]  # fmt: skip


@pytest.fixture(scope="module")
def resolver():
    one = Unbound({}, DATA).start()
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("domain", "ip", "wanted"),
    [
        ("spf.example.net", "192.0.2.7", True),
        ("spf.example.net", "2001:db8::7", True),
        ("spf.example.net", "127.0.0.11", True),
        ("spf.example.net", "198.51.100.1", False),
        ("other.example.net", "192.0.2.7", True),
        ("out1.example.net", "127.0.0.11", True),
        ("round.example.net", "192.0.2.7", None),
        ("macro.example.net", "192.0.2.7", None),
        ("plain.example.net", "192.0.2.7", None),
    ],
)
async def test_spf_includes_an_address_or_not(resolver, domain, ip, wanted):
    """Networks, hosts, mail exchangers, includes and redirects; what goes round or cannot be read is unknown."""
    async with Resolver(ResolverSettings((("127.0.0.1", resolver.port),))) as one:
        assert (await includes(one, domain, ipaddress.ip_address(ip))).is_included is wanted


def test_the_doctor_looks_at_each_ip(resolver, tmp_path):
    """Address here, PTR confirmed, EHLO name, SPF, listings; and what to do about what is wrong."""
    path = tmp_path / "penstock.toml"
    path.write_text(
        f'[store]\npath = "{tmp_path}/p.sqlite"\n[blocklists]\nresolver = "{resolver.address}"\n'
        "[pools.named.normal]\nips = [\n"
        '{ ip = "127.0.0.11", helo = "out1.example.net" },\n{ ip = "127.0.0.12", helo = "out2.example.net" },\n'
        '{ ip = "127.0.0.13" },\n{ ip = "192.0.2.1" },\n]\n'
    )
    checks = {one["name"]: one for one in json.loads(call("doctor", "--json", "-c", path, status=1))}
    states = {name: one["state"] for name, one in checks.items() if name.startswith("normal ")}

    assert {states[f"normal 127.0.0.11 {what}"] for what in ("address", "PTR", "HELO", "SPF", "listings")} == {"good"}
    assert "does not lead back" in checks["normal 127.0.0.12 PTR"]["seen"]
    assert (states["normal 127.0.0.12 PTR"], states["normal 127.0.0.12 SPF"]) == ("bad", "warning")
    assert states["normal 127.0.0.13 PTR"] == "unknown"  # nobody answers for it
    assert states["normal 192.0.2.1 address"] == "warning"
    assert all(one["advice"] for one in checks.values() if one["state"] == "bad")


def test_a_grave_listing_is_bad_and_trouble_is_unknown():
    """By severity; an address that cannot be tried is neither good nor bad."""
    rows = [Listing("192.0.2.1", "zen", 1.0, 1.0, severity=Severity.HIGH)]

    assert [listed("x", found).state for found in (rows, [])] == ["bad", "good"]

    def refuse(text):
        raise OSError(errno.EACCES, "not allowed")

    assert on_this_host("x", "192.0.2.1", refuse).state == "unknown"
