"""Six pools on addresses of their own behind a real Postfix, and the loop with a real rbldnsd: listed, out, back."""

import asyncio
import contextlib
import ipaddress
import time
from pathlib import Path

from test_end_to_end import submit, with_history

from neighbours.dns import TEST_POINTS, Blocklists
from neighbours.postfix import PeerSink, Postfix
from penstock.cli.mta_files import files
from penstock.clients.dns import Resolver, ResolverSettings
from penstock.clients.dnsbl import Lists
from penstock.config import parse_settings
from penstock.evaluation.provider import DAY, Provider, Sent
from penstock.judge.pools import find_route
from penstock.lists.catalogue import chosen_lists, read_choice
from penstock.model import Kind, transport_name
from penstock.protocols.dnsbl import Clear, Listed
from penstock.sending import Listing, ListingChange, Pin, Severity
from penstock.service import Service
from penstock.store.ports import DecisionSearch, PoolRecords
from penstock.watch import Watch

IPS = {
    "normal": ("127.0.0.11", "127.0.0.12"), "new": ("127.0.0.21",), "poor": ("127.0.0.31",),
    "suspect": ("127.0.0.41",), "bulk": ("127.0.0.51",), "automatic": ("127.0.0.61",),
}  # fmt: skip
ZONE = "loop.lists.example"
LIST = f'only = true\n[[list]]\nname = "loop"\nzone = "{ZONE}"\nseverity = "high"\nper_second = 0\n'
EVERY_S = 0.5


def settings(folder: Path) -> str:
    pools = ""
    for name, ips in IPS.items():
        rows = ", ".join(f'{{ ip = "{ip}", helo = "{helo(ip)}" }}' for ip in ips)
        pools += f"[pools.named.{name}]\nips = [{rows}]\n"
    return f"""
hostname = "penstock.provider.example"
[milter]
listen = ["127.0.0.1:0"]
[judge]
mode = "enforce"
[pools]
check_every_s = {EVERY_S}
clean_checks = 2
clean_hours = 0.0003
[store]
path = "{folder}/penstock.sqlite"
{pools}"""


def helo(ip):
    return f"out{ip.rpartition('.')[2]}.provider.example"


@contextlib.asynccontextmanager
async def provider_with_pools(folder):
    """Penstock, Postfix with the files that `penstock pools postfix` writes, and a sink."""
    one = parse_settings(settings(folder))
    service = Service(one, watch=Watch(None))
    await service.start()
    try:
        async with PeerSink() as sink:
            postfix = Postfix(sink=sink.address, milter=service.addresses()["milter"][0])
            place = postfix.folder / "pools"
            place.mkdir()
            made = files(one, place)
            for name, text in made.items():
                (place / name).write_text(text)
            postfix.use_pools(pools=made["penstock_pools"], master=made["penstock_master.cf"])
            async with postfix:
                yield service, postfix, sink
    finally:
        await service.stop(2.0)


def careful(victim, number):
    """What a careful thief sends first: harmless words to many strangers, from the owner's own machine."""
    text = (
        f"Hello,\r\n\r\nthe draft number {number} is ready, could you look at it until Monday?\r\n\r\nBest regards\r\n"
    )
    head = f"From: {victim.login}\r\nMessage-ID: <careful{number}@demo.example>\r\nSubject: draft {number}\r\n"
    strangers = tuple(f"stranger{number}-{one}@far.example" for one in range(6))
    return Sent(time.time(), victim, victim.ip, strangers, (head + "\r\n" + text).encode())


class Watching:
    """Stands in for the monitor: looks at the list all the time, and keeps what it sees."""

    def __init__(self, service, lists):
        self._service, self._lists = service, lists
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        (one,) = self._lists.lists
        while True:
            now = time.time()
            for ip in (ip for ips in IPS.values() for ip in ips):
                answer = await self._lists.look(one, ipaddress.ip_address(ip))
                assert isinstance(answer, Listed | Clear), answer
                what = "listed" if isinstance(answer, Listed) else "cleared"
                listing = Listing(ip, "loop", now, now, severity=Severity.HIGH)
                await self._service.store.record_listings([ListingChange(now, what, listing)])
            await asyncio.sleep(0.1)


async def send(postfix, letters, sent):
    """One letter after another, until cancelled; each is submitted once."""
    for letter in letters:
        code, text = await asyncio.to_thread(submit, postfix.port, letter)
        assert code == 250, text
        sent.append(letter)
        await asyncio.sleep(0.02)


def by_helo(sink):
    """Each connection's address, and the name that was said on it."""
    names = [line.partition(" ")[2] for line in sink.commands if line.upper().startswith(("EHLO", "HELO"))]
    return set(zip(sink.peers, names, strict=True))


async def test_a_listed_ip_leaves_its_pool_its_thief_is_named_and_it_returns(tmp_path):
    """Within one check interval the traffic moves to the sibling; after delisting it comes back; nothing is lost."""
    with Blocklists({ZONE: ("ip4set", TEST_POINTS)}) as world:
        resolver = ResolverSettings((("127.0.0.1", world.unbound.port),))
        async with Resolver(resolver) as asked, provider_with_pools(tmp_path) as (service, postfix, sink):
            watching = Watching(service, Lists(asked, chosen_lists(read_choice(LIST))))
            provider = await with_history(service)
            victim = provider.victim
            for one in (*(careful(victim, number) for number in range(3)), *provider.theft(time.time(), 5)):
                await asyncio.to_thread(submit, postfix.port, one)
            decisions = await service.store.decisions(DecisionSearch(account=f"sasl:{victim.login}", limit=50))
            recent = [one.decision for one in decisions if one.decision.at > time.time() - 600]
            ip = next(one.ip for one in reversed(recent) if one.ip)
            sibling = next(one for one in IPS["normal"] if one != ip)
            await postfix.until(lambda: sink.messages)
            assert ip in IPS["normal"]

            stream = [one for one in provider.ordinary(time.time() // DAY * DAY, 40) if one.customer != victim]
            letters = [one for one in stream if way_of(service, one) == ip]
            assert letters
            sent: list = []
            before = len(sink.messages)
            sending = asyncio.create_task(send(postfix, letters, sent))

            await postfix.until(lambda: sink.peers[-1] == ip)
            world.rbldnsd.change(ZONE, TEST_POINTS + f"{ip} :127.0.0.2:spam\n")
            began = time.monotonic()
            await postfix.until(lambda: sink.peers[-1] == sibling)
            assert time.monotonic() - began < 20 * EVERY_S  # of a machine that does much else
            (case,) = await service.store.cases(open_only=True)
            assert case.ip == ip
            assert case.suspects[0].account == f"sasl:{victim.login}"
            assert case.suspects[0].decisions
            await postfix.until(lambda: set(sink.peers[-5:]) == {sibling})

            world.rbldnsd.change(ZONE, TEST_POINTS)
            await postfix.until(lambda: sink.peers[-1] == ip)
            assert await service.store.cases(open_only=True) == []  # it is closed before anybody hears of the IP
            what = [one.what for one in await service.store.audit(target=ip)]
            assert sorted(what) == ["drain-ip", "open-case", "undrain-ip"]

            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            watching.task.cancel()
            await postfix.until(lambda: len(sink.messages) >= before + len(sent))
            subjects = [raw for _, _, raw in sink.messages[before:]]
            assert len(subjects) - len(sent) in (0, 1)  # the last one may have been cut off after it was taken
            assert len({ids(raw) for raw in subjects}) == len(subjects)
            assert by_helo(sink) <= {(one, helo(one)) for ips in IPS.values() for one in ips}
            assert not any(b"X-Penstock-Pool" in raw for raw in subjects)


def way_of(service, letter):
    """The address that a customer's ordinary letter leaves from."""
    pools, name = service.rules.pools, f"sasl:{letter.customer.login}"
    return find_route(pools, service.pipeline.live, name, "normal", Kind.NORMAL, now=letter.at).ips[0].ip


def ids(raw):
    return next(line for line in raw.split(b"\r\n") if line.lower().startswith(b"x-penstock-ref:"))


async def test_six_pools_have_six_addresses_and_names(tmp_path):
    """What a pin says is what the sink sees: source address and EHLO name of each pool's IP."""
    async with provider_with_pools(tmp_path) as (service, postfix, sink):
        provider = Provider(1, customers=8)
        customers = [one for one in provider.customers if one != provider.victim]
        stream = list(provider.ordinary(time.time() // DAY * DAY, 5))
        letters = {one.login: next(letter for letter in stream if letter.customer == one) for one in customers}
        pairs = zip(customers, IPS, strict=False)
        pins = tuple(Pin(f"sasl:{one.login}", name, time.time(), "test") for one, name in pairs)
        await service.store.record_pools(PoolRecords(pins=pins))
        await service.refresh_pools()
        found = {}
        for pin in pins:
            before = len(sink.messages)
            letter = letters[pin.account.removeprefix("sasl:")]
            assert (await asyncio.to_thread(submit, postfix.port, letter))[0] == 250
            await postfix.until(lambda before=before: len(sink.messages) > before)
            found[pin.pool] = sink.peers[-1]

        assert set(found) == set(IPS)
        assert all(found[name] in ips for name, ips in IPS.items())
        assert by_helo(sink) == {(ip, helo(ip)) for ip in found.values()}
        assert transport_name("bulk", "127.0.0.51") in postfix.log()
        assert postfix.warnings() == []
