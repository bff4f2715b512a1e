"""The monitor as a part of the daemon, and alone as a command."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from neighbours.dns import TEST_POINTS, Blocklists
from penstock.cli.main import app
from penstock.config import load_settings
from penstock.model import Connection, Envelope, Submission
from penstock.service import Service
from penstock.store.ports import DecisionSearch
from penstock.watch import Watch

ZONES = {
    "ip4.lists.example": ("ip4set", TEST_POINTS + "192.0.2.7 :127.0.0.2:spam\n"),
    "names.lists.example": ("dnset", ":127.0.0.2:spam\ntest\n.link.example\n.signed.example\n.from.example\n"),
}
MAIL = """From: Joe <joe@from.example>
DKIM-Signature: v=1; a=rsa-sha256; d=Signed.example; s=one; b=AbC=
Message-ID: <1@from.example>

Look at https://www.link.example/ and at http://192.0.2.66/ as well.
"""


@pytest.fixture(scope="module")
def world():
    with Blocklists(ZONES) as one:
        yield one


@pytest.fixture
def config(world, tmp_path):
    lists, path = tmp_path / "lists.toml", tmp_path / "penstock.toml"
    lists.write_text('only = true\n[[list]]\nname = "ip4"\nzone = "ip4.lists.example"\nper_second = 0\n')
    path.write_text(
        f"""[store]
path = "{tmp_path}/p.sqlite"
[blocklists]
watch = true
resolver = "{world.unbound.address}"
lists_file = "{lists}"
[[blocklists.ranges]]
network = "192.0.2.0/29"
"""
    )
    return path


async def test_the_daemon_watches(config):
    """What is listed when it starts is soon in the store, as its baseline."""
    service = Service(load_settings(config), watch=Watch(None))
    await service.start()
    try:
        async with asyncio.timeout(20):
            while not await service.store.listings():
                await asyncio.sleep(0.05)
        (listing,) = await service.store.listings()
        (change,) = await service.store.listing_changes(after=0)
    finally:
        await service.stop(0.0)

    assert (listing.target, listing.list, listing.codes) == ("192.0.2.7", "ip4", ("127.0.0.2",))
    assert change.is_baseline and change.number == 1


async def test_domains_that_customers_show_are_watched(config):
    """Those of the envelope, From, DKIM and links, as decisions keep them; an address in a link is none of ours."""
    lists = config.with_name("lists.toml")
    more = '[[list]]\nname = "names"\nzone = "names.lists.example"\nkind = "domain"\nper_second = 0\n'
    lists.write_text(lists.read_text() + more)
    config.write_text(config.read_text().replace("watch = true", "sent_domains = 10"))
    service = Service(load_settings(config), watch=Watch(None))
    await service.start()
    try:
        now = service.now()
        envelope = Envelope("joe@bounces.example", ("friend@example.org",))
        connection = Connection(client_ip="192.0.2.200", peer_ip="127.0.0.1", login="joe@from.example")
        await service.pipeline.judge(
            Submission(service.new_id(now), now, connection, envelope, MAIL.replace("\n", "\r\n").encode())
        )
        (row,) = await service.store.decisions(DecisionSearch())
        watching = service.monitoring()
        await watching.start()
        try:
            watched = await watching.sent_domains()
            await watching.monitor.run_once()
        finally:
            await watching.close()
        listed = {one.target for one in await service.store.listings()}
    finally:
        await service.stop(0.0)

    assert listed == {"192.0.2.7", "from.example", "signed.example", "link.example"}
    assert row.domains == ("from.example", "signed.example", "link.example", "192.0.2.66")
    assert {one.name for one in watched} == {"bounces.example", "from.example", "signed.example", "link.example"}


def test_it_can_be_tried_as_a_command(config):
    """What would be watched, and one round of it."""
    words = ["monitor", "--config", str(config), "--json"]
    watched = json.loads(CliRunner().invoke(app, [*words, "--dry-run"]).stdout)
    once = CliRunner().invoke(app, [*words, "--once"])

    assert [(one["target"], one["sort"]) for one in watched] == [("192.0.2.0/29", "ipv4")]
    assert json.loads(once.stdout) == {"changes": 1}


def test_nothing_to_watch_is_told(tmp_path):
    """With what is wanted."""
    path = tmp_path / "penstock.toml"
    path.write_text(f'[store]\npath = "{tmp_path}/p.sqlite"\n')
    result = CliRunner().invoke(app, ["monitor", "--once", "--config", str(path)])

    assert result.exit_code == 2 and "blocklists.ranges" in result.stderr
