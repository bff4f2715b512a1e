"""The whole of Penstock between a real Postfix and its two pools: whose mail leaves through which pool, if at all."""

import asyncio
import contextlib
import smtplib
import time
from pathlib import Path

import pytest

from neighbours.postfix import PeerSink, Postfix, free_port
from neighbours.sink import Sink
from penstock.clients.login import hash_password
from penstock.config import parse_settings
from penstock.evaluation.provider import DAY, Customer, Provider, Sent
from penstock.model import Connection, Envelope, Standing, Submission
from penstock.protocols.deliveries import Reader
from penstock.protocols.deliveries import postfix as postfix_lines
from penstock.service import Service
from penstock.store.ports import DecisionSearch
from penstock.watch import Watch

NORMAL, RISK = "127.0.0.10", "127.0.0.66"
SETTINGS = """
hostname = "penstock.provider.example"
{listener}
[judge]
mode = "enforce"
[pools.choose]
default = "normal"
poor = "risk"
[store]
path = "{folder}/penstock.sqlite"
"""


@contextlib.asynccontextmanager
async def penstock(folder: Path, listener: str):
    service = Service(parse_settings(SETTINGS.format(folder=folder, listener=listener)), watch=Watch(None))
    await service.start()
    try:
        yield service
    finally:
        await service.stop(2.0)


async def with_history(service: Service) -> Provider:
    """A provider whose customers have written for three weeks, up to yesterday."""
    provider = Provider(1, customers=8)
    for one in provider.ordinary((time.time() // DAY - 21) * DAY, 20):
        connection = Connection(client_ip=one.ip, peer_ip="127.0.0.1", login=one.customer.login, listener="milter")
        envelope = Envelope(one.customer.login, one.rcpt_to)
        await service.pipeline.judge(Submission(service.new_id(one.at), one.at, connection, envelope, one.raw))
    return provider


def submit(port: int, one, *, xclient=True, password=""):
    """One message over SMTP; the code that the client was told."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo("laptop")
        if xclient:
            client.docmd("XCLIENT", f"ADDR={one.ip} LOGIN={one.customer.login}")
            client.ehlo("laptop")
        if password:
            client.login(one.customer.login, password, initial_response_ok=True)
        for command in (f"MAIL FROM:<{one.customer.login}>", *(f"RCPT TO:<{to}>" for to in one.rcpt_to), "DATA"):
            code, text = client.docmd(command)
            if code >= 400:
                return code, text.decode()
        client.send(one.raw.rstrip(b"\r\n") + b"\r\n.\r\n")
        code, text = client.getreply()
        return code, text.decode()


async def play(service, provider, port, sink, settled):
    """The owner writes, the thief blasts, the owner's colleague writes; what arrived, by whom."""
    letters = [one for one in provider.ordinary(time.time() // DAY * DAY, 1) if one.customer != provider.victim][:6]
    for one in letters:
        assert (await asyncio.to_thread(submit, port, one))[0] == 250
    await settled(lambda: len(sink.messages) >= len(letters))
    owners = set(sink.peers)
    told = [await asyncio.to_thread(submit, port, one) for one in provider.theft(time.time(), 25)]
    await asyncio.sleep(1.0)
    leaked = len(sink.messages) - len(letters)
    return owners, told, leaked


async def check_the_thief(service, provider, told, leaked):
    name = f"sasl:{provider.victim.login}"
    row = await service.store.account(name)
    decisions = await service.store.decisions(DecisionSearch(account=name, since=time.time() - 600, limit=100))
    first = next(n for n, one in enumerate(reversed(decisions)) if one.decision.action != "accept")
    assert row.standing is Standing.SUSPENDED
    assert leaked == first <= 3
    assert all(one.decision.action != "accept" for one in list(reversed(decisions))[first:])
    assert told[-1][0] == 450
    assert "PS-SUSPENDED" in told[-1][1]


async def test_postfix_with_the_milter_and_two_pools(tmp_path):
    """Owners leave from the address of pool normal, a poor account's from risk, a thief's mail does not leave."""
    listener = '[milter]\nlisten = ["127.0.0.1:0"]\n[pools.named.normal]\n[pools.named.risk]'
    async with penstock(tmp_path, listener) as service, PeerSink() as sink:
        provider = await with_history(service)
        milter = service.addresses()["milter"][0]
        async with Postfix(sink=sink.address, milter=milter) as postfix:
            owners, told, leaked = await play(service, provider, postfix.port, sink, postfix.until)

            assert owners == {NORMAL}
            await check_the_thief(service, provider, told, leaked)
            other = next(one for one in provider.customers if one != provider.victim)
            await service.pipeline.steer(f"sasl:{other.login}", Standing.POOR, who="test", reason="", now=time.time())
            letter = next(one for one in provider.ordinary(time.time() // DAY * DAY, 1) if one.customer == other)
            before = len(sink.peers)
            assert (await asyncio.to_thread(submit, postfix.port, letter))[0] == 250
            await postfix.until(lambda: len(sink.peers) > before)
            assert sink.peers[-1] == RISK
            raw = sink.messages[-1][2]
            assert b"X-Penstock-Ref: " in raw
            assert b"X-Penstock-Pool" not in raw
            assert postfix.warnings() == []


async def test_a_bounce_that_postfix_logs_and_reports_counts_once(tmp_path):
    """The receiver does not know Ann: Postfix says so in its log, and in the report that it sends to Joe."""

    def refuse(stage, number):
        return "550 5.1.1 no such user" if stage == "rcpt" and "ann@" in sink.commands[-1] else ""

    joe = Customer("joe@example.com", "Joe", "192.0.2.7", ("ann@far.example",), 1.0)
    letter = Sent(time.time(), joe, joe.ip, joe.contacts, b"Message-ID: <1@example.com>\r\n\r\nHello\r\n")
    listener = '[milter]\nlisten = ["127.0.0.1:0"]\n[pools.named.normal]\n[pools.named.risk]'
    async with penstock(tmp_path, listener) as service, Sink(refuse) as sink:
        async with Postfix(sink=sink.address, milter=service.addresses()["milter"][0]) as postfix:
            assert (await asyncio.to_thread(submit, postfix.port, letter))[0] == 250
            await postfix.until(lambda: [one for one in sink.messages if not one[0]])
            report = next(raw for sender, _, raw in sink.messages if not sender)
            log = "".join(line + "\n" for line in postfix.log().splitlines()).encode()
        assert b"status=bounced" in log
        counted, absorb = [], service.pipeline.absorb

        async def listen(event):
            counted.append((event.key, await absorb(event) is not None))

        service.pipeline.absorb = listen
        await service.feedback().take_block(log, Reader(postfix_lines))
        taken = await service.feedback().take_mail(report)
        (row,) = await service.store.decisions(DecisionSearch(account="sasl:joe@example.com"))
        key = f"bounced/{row.decision.id}/ann@far.example"
        assert counted == [(key, True), (key, False)]
        assert (taken.what, taken.decision_id) == ("bounce", row.decision.id)


@pytest.mark.parametrize("front", ["login", "xclient"])
async def test_the_relay_between_clients_and_postfix_with_two_pools(tmp_path, front):
    """The same through the relay, each pool a port of the Postfix behind; the client's 250 is that Postfix's."""
    normal, risk = free_port(), free_port()
    smtpd = "127.0.0.1:{} inet n - n - - smtpd -o smtpd_milters= -o mynetworks=127.0.0.0/8 -o content_filter={}:\n"
    master = smtpd.format(normal, "normal") + smtpd.format(risk, "risk")
    passwords = tmp_path / "passwords"
    provider = Provider(1, customers=8)
    passwords.write_text("".join(f"{one.login}:{hash_password('secret')}\n" for one in provider.customers))
    listener = (
        f'[smtp]\nlisten = ["127.0.0.1:0"]\nforwarding_hosts = ["127.0.0.1"]\n'
        f'[smtp.auth]\npasswords = "{passwords}"\nwithout_tls = true\n[next_hop]\naddress = "127.0.0.1:{normal}"\n'
        f'[pools.named.normal]\nnext_hop = "127.0.0.1:{normal}"\n[pools.named.risk]\nnext_hop = "127.0.0.1:{risk}"'
    )
    async with (
        PeerSink() as sink,
        Postfix(sink=sink.address, master=master) as postfix,
        penstock(tmp_path, listener) as service,
    ):
        provider = await with_history(service)
        port = int(service.addresses()["smtp"][0].rpartition(":")[2])
        if front == "login":
            letter = next(one for one in provider.ordinary(time.time() // DAY * DAY, 1))
            assert (await asyncio.to_thread(submit, port, letter, xclient=False, password="secret"))[0] == 250
            await postfix.until(lambda: sink.messages)
            assert sink.peers == [NORMAL]
            assert b"X-Penstock-Ref: " in sink.messages[0][2]
            return
        owners, told, leaked = await play(service, provider, port, sink, postfix.until)
        assert owners == {NORMAL}
        await check_the_thief(service, provider, told, leaked)
        other = next(one for one in provider.customers if one != provider.victim)
        await service.pipeline.steer(f"sasl:{other.login}", Standing.POOR, who="test", reason="", now=time.time())
        letter = next(one for one in provider.ordinary(time.time() // DAY * DAY, 1) if one.customer == other)
        before = len(sink.peers)
        assert (await asyncio.to_thread(submit, port, letter))[0] == 250
        await postfix.until(lambda: len(sink.peers) > before)
        assert sink.peers[-1] == RISK


async def test_a_service_that_cannot_bind_leaves_nothing_open(tmp_path):
    """A port that is taken is an error at start, and the store is closed again."""
    listener = '[milter]\nlisten = ["127.0.0.1:{}"]\n[pools.named.normal]\n[pools.named.risk]'
    async with penstock(tmp_path, listener.format(0)) as first:
        port = first.addresses()["milter"][0].rpartition(":")[2]
        settings = parse_settings(SETTINGS.format(folder=tmp_path / "b", listener=listener.format(port)))
        with pytest.raises(OSError, match="address already in use"):
            await Service(settings, watch=Watch(None)).start()
