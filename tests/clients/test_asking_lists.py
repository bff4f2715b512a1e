"""Lists asked for real: an rbldnsd with sound lists and liars behind an unbound."""

import asyncio
import ipaddress
import socket

import pytest

from neighbours.dns import GOOD, LIARS, LISTS, Blocklists, free_port, list_of
from penstock.clients.dns import Resolver, ResolverSettings, server_of, system_servers
from penstock.clients.dnsbl import Lists, Sound
from penstock.clients.hosts import addresses_of, reverse_name
from penstock.lists.catalogue import chosen_lists, read_choice
from penstock.protocols.dns_wire import Kind
from penstock.protocols.dnsbl import Clear, Health, Listed, Rcode, Trouble, Unknown, addresses
from penstock.sending import Severity


@pytest.fixture(scope="module")
def world():
    with Blocklists() as one:
        yield one


@pytest.fixture
async def resolver(world):
    async with Resolver(ResolverSettings((("127.0.0.1", world.unbound.port),), timeout_s=1.0, tries=2)) as one:
        yield one


def lists(resolver, *extra, **more):
    text = LISTS + "".join(list_of(name, severity="high") for name in extra)
    return Lists(resolver, chosen_lists(read_choice(text)), **more)


def named(lists, name):
    return next(one for one in lists.lists if one.name == name)


async def test_sound_lists_are_believed(resolver):
    """IPv4, IPv6 by nibbles, and domains, each with its code, meaning, severity and text."""
    all = lists(resolver)
    cases = [
        ("ip4", ipaddress.ip_address("192.0.2.7"), "127.0.0.3", "sends spam", Severity.CRITICAL),
        ("ip6", ipaddress.ip_address("2001:db8::25"), "127.0.0.4", "", Severity.HIGH),
        ("dbl", "bad.example", "127.0.1.4", "phishing", Severity.CRITICAL),
        ("policy", ipaddress.ip_address("192.0.2.8"), "127.0.0.10", "a policy entry", Severity.NONE),
    ]
    for name, target, code, meaning, severity in cases:
        answer = await all.look(named(all, name), target)
        found = await all.found(named(all, name), target, answer)

        assert answer == Listed((code,))
        assert (found.meanings, found.severity) == ((meaning,) if meaning else (), severity)
        assert found.text
    assert await all.look(named(all, "ip4"), ipaddress.ip_address("192.0.2.1")) == Clear()
    assert await all.look(named(all, "dbl"), "good.example") == Clear()


@pytest.mark.parametrize(("name", "health"), [*LIARS.items(), ("dead", "dead")])
async def test_a_list_that_lies_is_unknown(resolver, name, health):
    """Neither listed nor clean, whatever it answers."""
    all = lists(resolver, name)
    one = named(all, name)

    assert (await all.sound(one, "ipv4")).health is Health(health)
    answer = await all.look(one, ipaddress.ip_address("192.0.2.7"))
    assert isinstance(answer, Unknown) and answer.why.startswith(health)


async def test_a_scan_asks_every_list_about_every_target(resolver):
    """A range, and every answer once; liars are told as unknown for each target."""
    all = lists(resolver, "world", "dead")
    seen = []
    await all.scan(lambda: addresses("192.0.2.0/27"), lambda *one: seen.append(one))

    by_list = {name: [answer for one, _, answer in seen if one.name == name] for name in (*GOOD, "world", "dead")}
    assert {name: len(found) for name, found in by_list.items()} == {
        "ip4": 32, "low": 32, "policy": 32, "ip6": 0, "dbl": 0, "world": 32, "dead": 32,
    }  # fmt: skip
    listed = {(one.name, str(target)) for one, target, answer in seen if isinstance(answer, Listed)}
    assert listed == {("ip4", "192.0.2.7"), ("low", "192.0.2.9"), ("policy", "192.0.2.8")}
    assert {type(answer) for name in ("world", "dead") for answer in by_list[name]} == {Unknown}


async def test_a_list_is_asked_at_its_own_pace(resolver):
    """So many questions a second, and no more, whatever the others do."""
    text = 'only = true\n[[list]]\nname = "ip4"\nzone = "ip4.lists.example"\nper_second = 50\n'
    slow = Lists(resolver, chosen_lists(read_choice(text)))
    began = asyncio.get_running_loop().time()
    await slow.scan(lambda: addresses("192.0.2.0/28"), lambda *_: None)

    assert asyncio.get_running_loop().time() - began >= 15 / 50


async def test_hosts_lead_back_or_not(resolver):
    """PTR with forward confirmation; no PTR is not the same as no answer."""
    good = await reverse_name(resolver, ipaddress.ip_address("192.0.2.7"))
    assert (good.names, good.confirmed) == (("mail.example.com",), ("mail.example.com",))
    bad = await reverse_name(resolver, ipaddress.ip_address("192.0.2.10"))
    assert (bad.names, bad.confirmed) == (("other.example",), ())
    assert {str(one) for one in (await addresses_of(resolver, "mail.example.com"))[0]} == {"192.0.2.7", "2001:db8::25"}


async def test_answers_are_kept_for_their_time(world, resolver):
    """A second question within the TTL sends nothing."""
    await resolver.ask("mail.example.com")
    sent = resolver.sent
    assert (await resolver.ask("mail.example.com")).values == ("192.0.2.7",)
    assert resolver.sent == sent


async def test_lost_datagrams_are_sent_again():
    """From another port with another id; and silence ends as no answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        settings = ResolverSettings((server.getsockname(),), timeout_s=0.1, tries=3)
        async with Resolver(settings) as resolver:
            reply = await resolver.ask("a.example")
        seen = [await loop.sock_recvfrom(server, 512) for _ in range(3)]

    assert reply.rcode is Rcode.TIMEOUT
    assert len({address for _, address in seen}) == 3 and len({data[:2] for data, _ in seen}) == 3


async def test_a_forged_answer_is_not_taken():
    """Right port, wrong id or wrong question: as if it had never come; the true one counts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        async with Resolver(ResolverSettings((server.getsockname(),), timeout_s=5.0)) as resolver:
            asking = asyncio.create_task(resolver.ask("a.example"))
            data, client = await loop.sock_recvfrom(server, 512)
            body = b"\x81\x80\0\1\0\1\0\0\0\0" + data[12:]
            lie = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\2"
            wrong_id = bytes([data[0] ^ 1, data[1]])
            await loop.sock_sendto(server, wrong_id + body + lie, client)
            await loop.sock_sendto(server, data[:2] + body.replace(b"\1a", b"\1b") + lie, client)
            await loop.sock_sendto(server, data[:2] + body + lie[:-1] + b"\3", client)

            assert (await asking).values == ("127.0.0.3",)


async def test_what_does_not_fit_is_asked_over_tcp(world):
    """A cut answer is fetched whole."""

    async def serve(reader, writer):
        asked = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        text = bytes([200]) + b"x" * 200
        answer = asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:]
        answer += b"\xc0\x0c\0\x10\0\1\0\0\0\1" + (len(text) * 4).to_bytes(2, "big") + text * 4
        writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
        writer.close()

    port = free_port()
    tcp = await asyncio.start_server(serve, "127.0.0.1", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        async with tcp, Resolver(ResolverSettings((("127.0.0.1", port),))) as resolver:
            asking = asyncio.create_task(resolver.ask("a.example", Kind.TXT))
            data, client = await loop.sock_recvfrom(server, 512)
            await loop.sock_sendto(server, data[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + data[12:], client)

            assert (await asking).values == ("x" * 800,)


async def test_nobody_listening_is_no_answer():
    """A refused port is a value, not an exception."""
    async with Resolver(ResolverSettings((("127.0.0.1", free_port()),), timeout_s=0.1, tries=1)) as resolver:
        assert (await resolver.ask("a.example")).rcode is Rcode.TIMEOUT


async def test_a_list_that_goes_silent_is_left_alone(resolver):
    """After so many silent answers nothing more is sent to it."""

    class Dying(Lists):
        async def sound(self, one, sort):
            return Sound(Health.GOOD, "")

    answers = []
    text = "only = true\n" + list_of("dead")
    dying = Dying(resolver, chosen_lists(read_choice(text)), at_once=4)
    before = resolver.sent
    await dying.scan(lambda: addresses("192.0.2.0/24"), lambda *seen: answers.append(seen[2]))

    assert len(answers) == 256 and {answer.trouble for answer in answers} == {Trouble.SILENT}
    assert any("given up" in answer.why for answer in answers) and resolver.sent - before < 100


def test_resolvers_are_read_from_text_and_from_the_system(tmp_path):
    """Ports, IPv6, and a resolv.conf with other things in it."""
    assert server_of("127.0.0.1") == ("127.0.0.1", 53)
    assert server_of("127.0.0.1:5353") == ("127.0.0.1", 5353)
    assert server_of("[::1]:5353") == ("::1", 5353) and server_of("::1") == ("::1", 53)
    for text in ("", "localhost", "127.0.0.1:x", "127.0.0.1:99999"):
        with pytest.raises(ValueError, match="no resolver"):
            server_of(text)
    path = tmp_path / "resolv.conf"
    path.write_text("search example\nnameserver 192.0.2.53\nnameserver nonsense\n")
    assert system_servers(path) == (("192.0.2.53", 53),)
    assert system_servers(tmp_path / "none") == (("127.0.0.1", 53),)
