"""Where addresses are, by databases and by lists that a real rbldnsd serves."""

import asyncio
from collections import Counter

import pytest

from neighbours.dns import LISTS, Blocklists, free_port
from neighbours.mmdb import write_mmdb
from penstock.attempts import Location
from penstock.clients.locator import make_locator
from penstock.config import parse_settings

BERLIN = {"country": {"iso_code": "DE"}, "location": {"latitude": 52.5, "longitude": 13.4}}


@pytest.fixture(scope="module")
def world():
    with Blocklists() as one:
        yield one


def settings(tmp_path, resolver="", **logins):
    (tmp_path / "lists.toml").write_text(LISTS)
    text = "".join(f"{name} = {value!r}\n" for name, value in logins.items())
    return parse_settings(
        f'[blocklists]\nresolver = "{resolver}"\nlists_file = "{tmp_path}/lists.toml"\n[logins]\n{text}'
    )


async def located(settings, ip):
    """What is said of an address, and what was counted."""
    counts = Counter()
    locator = make_locator(settings, lambda name: counts.update([name]))
    await locator.start()
    try:
        return await asyncio.wait_for(locator.locate(ip), 10), counts
    finally:
        await locator.close()


async def test_databases_add_up(tmp_path):
    """One knows whose network it is, another where; what neither knows is empty, and so is IPv6 where there is none."""
    paths = [
        str(write_mmdb(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 64500}})),
        str(write_mmdb(tmp_path / "city.mmdb", {"192.0.2.0/25": BERLIN, "198.51.100.0/24": BERLIN})),
    ]
    given = settings(tmp_path, databases=paths)

    assert (await located(given, "192.0.2.7"))[0] == Location(64500, "DE", 52.5, 13.4)
    assert (await located(given, "192.0.2.200"))[0] == Location(64500)
    for unknown in ("203.0.113.1", "2001:db8::1", "no address", ""):
        assert (await located(given, unknown))[0] == Location()


async def test_lists_of_login_sources_are_asked(tmp_path, world):
    """A listing is named."""
    given = settings(tmp_path, resolver=world.unbound.address, lists=["ip4"], lists_s=1.0)

    assert (await located(given, "192.0.2.7"))[0].lists == ("ip4",)
    assert (await located(given, "192.0.2.1"))[0] == Location()


async def test_a_list_that_does_not_answer_has_said_nothing(tmp_path):
    """Within the deadline, and counted."""
    given = settings(tmp_path, resolver=f"127.0.0.1:{free_port()}", lists=["ip4"], lists_s=0.2)
    found, counts = await located(given, "192.0.2.7")

    assert found == Location() and counts["login-lists-unanswered"] == 1


def test_what_cannot_be_used_is_a_fault_at_the_start(tmp_path):
    """With the setting that is at fault."""
    (tmp_path / "no.mmdb").write_bytes(b"nothing of the sort" * 100)
    with pytest.raises(ValueError, match=r"logins\.databases"):
        make_locator(settings(tmp_path, databases=[str(tmp_path / "no.mmdb")]), print)
    with pytest.raises(OSError):
        make_locator(settings(tmp_path, databases=[str(tmp_path / "missing.mmdb")]), print)
    with pytest.raises(ValueError, match="no list"):
        make_locator(settings(tmp_path, lists=["nonsense"]), print)
    with pytest.raises(ValueError, match="without a key"):
        make_locator(parse_settings('[logins]\nlists = ["spamhaus-authbl"]'), print)
    assert make_locator(settings(tmp_path), print) is None
