"""The monitor as a part of the daemon, and alone as a command."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from neighbours.dns import TEST_POINTS, Blocklists
from penstock.cli.main import app
from penstock.config import load_settings
from penstock.service import Service
from penstock.watch import Watch

ZONES = {"ip4.lists.example": ("ip4set", TEST_POINTS + "192.0.2.7 :127.0.0.2:spam\n")}


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
