"""The servers that are compared, each a process: `python -m bench.servers KIND NEXT_HOP` prints its port."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog
import uvloop
from msgspec.structs import replace

from penstock.clients.next_hop import NextHopSettings, SmtpNextHop
from penstock.config import parse_settings
from penstock.listeners.milter import MilterListener, MilterSettings
from penstock.listeners.smtp import SmtpListener, SmtpSettings
from penstock.model import Account, Action, Admission, Decision, Delivered, Kind, Opening, Standing, Submission, make_id
from penstock.service import Service
from penstock.watch import Watch

_numbers = itertools.count()


class PassAll:
    """A gate without a judge."""

    may_refuse = False

    async def admit(self, opening: Opening) -> Admission:
        return Admission()

    async def judge(self, submission: Submission) -> Decision:
        account = Account("host", submission.connection.client_ip)
        facts = (Action.ACCEPT, Action.ACCEPT, Standing.NORMAL, Kind.NORMAL, 0.0)
        return Decision(submission.id, submission.received_at, account, *facts)

    async def delivered(self, delivered: Delivered) -> None:
        return None


async def relay(next_hop: str) -> int:
    """The relay without judging."""
    settings = SmtpSettings("bench.example", ("127.0.0.1:0",), trusted_networks=(ipaddress.ip_network("127.0.0.0/8"),))
    listener = SmtpListener(
        settings,
        PassAll(),
        SmtpNextHop(NextHopSettings(next_hop, "bench.example")),
        {},
        login=None,
        count=lambda name: None,
        now=time.time,
        new_id=lambda now: make_id(now, next(_numbers)),
    )
    await listener.start()
    _kept.append(listener)
    return int(listener.addresses[0].rpartition(":")[2])


async def bare_milter(next_hop: str) -> int:
    """The milter without judging: what any milter in this language costs Postfix at least."""
    settings = MilterSettings(("127.0.0.1:0",), (ipaddress.ip_network("127.0.0.0/8"),))
    made = {"count": lambda name: None, "now": time.time, "new_id": lambda now: make_id(now, next(_numbers))}
    listener = MilterListener(settings, PassAll(), **made)
    await listener.start()
    _kept.append(listener)
    return int(listener.addresses[0].rpartition(":")[2])


async def service(next_hop: str, kind: str) -> int:
    """Penstock as an operator runs it: SQLite on disk, observe mode, all senders one host's accounts.

    As a milter it listens on a Unix socket too, `unix_socket(port)`, open to Postfix' users.
    """
    # The log is made but not written: where a terminal or a journal takes it is no part of the comparison.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    text = f"""
hostname = "bench.example"
[{kind}]
listen = ["127.0.0.1:0"]
[next_hop]
address = "{next_hop}"
[store]
path = "{folder}/penstock.sqlite"
"""
    one = Service(parse_settings(text), watch=Watch(None))
    await one.start()
    _kept.append(one)
    port = int(one.addresses()[kind][0].rpartition(":")[2])
    if kind == "milter":
        listener = one.listeners[kind]
        assert isinstance(listener, MilterListener)
        settings = replace(listener.settings, listen=(f"unix:{unix_socket(port)}",))
        second = MilterListener(settings, one.pipeline, count=lambda name: None, now=one.now, new_id=one.new_id)
        await second.start()
        unix_socket(port).chmod(0o666)
        _kept.append(second)
    return port


def unix_socket(port: int) -> Path:
    """Where the milter that has this port listens too."""
    return Path(tempfile.gettempdir()) / f"penstock-bench-{port}.sock"


async def aiosmtpd_sink(next_hop: str) -> int:
    """aiosmtpd that throws messages away."""
    from aiosmtpd.smtp import SMTP

    class Handler:
        async def handle_DATA(self, server, session, envelope):  # type: ignore[no-untyped-def]
            return "250 OK"

    return await _aiosmtpd(lambda: SMTP(Handler(), hostname="bench"))


async def aiosmtpd_relay(next_hop: str) -> int:
    """aiosmtpd that hands each message on by aiosmtplib, over connections that it keeps."""
    import aiosmtplib
    from aiosmtpd.smtp import SMTP

    host, _, port = next_hop.rpartition(":")
    idle: list[aiosmtplib.SMTP] = []

    class Handler:
        async def handle_DATA(self, server, session, envelope):  # type: ignore[no-untyped-def]
            client = idle.pop() if idle else None
            if client is None:
                client = aiosmtplib.SMTP(hostname=host, port=int(port), start_tls=False)
                await client.connect()
            await client.sendmail(envelope.mail_from, envelope.rcpt_tos, envelope.content)
            idle.append(client)
            return "250 OK"

    return await _aiosmtpd(lambda: SMTP(Handler(), hostname="bench"))


async def _aiosmtpd(factory) -> int:  # type: ignore[no-untyped-def]
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    _kept.append(server)
    return int(server.sockets[0].getsockname()[1])


_kept: list[object] = []


async def main() -> None:
    kind, next_hop = sys.argv[1], sys.argv[2]
    match kind:
        case "relay":
            port = await relay(next_hop)
        case "judging":
            port = await service(next_hop, "smtp")
        case "milter":
            port = await service(next_hop, "milter")
        case "bare-milter":
            port = await bare_milter(next_hop)
        case "aiosmtpd-sink":
            port = await aiosmtpd_sink(next_hop)
        case _:
            port = await aiosmtpd_relay(next_hop)
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    uvloop.run(main())
