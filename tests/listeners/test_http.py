"""The HTTP listener over real sockets: both protocols on one port, trust, bounds, an orderly end."""

import asyncio
import contextlib
import ipaddress
import json

import pytest
import uvloop

from neighbours.gate import FakeGate, Surroundings, decision
from penstock.listeners.http import HttpListener, HttpSettings
from penstock.model import Action, Reply

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
ELSEWHERE = (ipaddress.ip_network("192.0.2.0/24"),)
MESSAGE = b"Subject: hello\r\n\r\nHi\r\n"
THROTTLED = Reply(450, "4.7.1", "[PS-ACCOUNT] later")


class Running:
    def __init__(self, gate=None, networks=LOOPBACK, listen=("127.0.0.1:0",), is_well=True, **more):
        self.gate = gate or FakeGate()
        self.around = Surroundings()
        self.counts = self.around.counts

        async def health():
            return is_well, {"store": "ok" if is_well else "gone"}

        self.listener = HttpListener(
            HttpSettings(listen=listen, trusted_networks=networks, **more), self.gate, metrics=lambda: b"a 1\n",
            health=health, count=self.around.count, now=self.around.now, new_id=self.around.new_id,
        )  # fmt: skip

    async def __aenter__(self):
        await self.listener.start()
        return self

    async def __aexit__(self, *_):
        await asyncio.wait_for(self.listener.stop(0.2), 5)

    async def open(self):
        host, _, port = self.listener.addresses[0].rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def ask(self, path, body=b"", *, method="POST", **headers):
        """One request on a connection of its own: status and body."""
        reader, writer = await self.open()
        writer.write(request(path, body, method=method, **headers))
        found = await response(reader)
        writer.close()
        return found

    async def line(self, data):
        """What comes back for bytes until the other side closes."""
        reader, writer = await self.open()
        writer.write(data)
        found = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return found


def request(path, body=b"", *, method="POST", **headers):
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


async def response(reader):
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
    return int(head.split()[1]), await reader.readexactly(length)


def rspamc(body=MESSAGE, *headers):
    head = "".join(f"{one}\r\n" for one in ("CHECK RSPAMC/1.3", f"Content-length: {len(body)}", *headers))
    return f"{head}\r\n".encode() + body


async def test_checkv2_judges_and_answers():
    """The submission is what the client said; the answer is the decision."""
    async with Running(FakeGate(lambda one: decision(one, add_headers=(("X-Penstock-Ref", "t"),)))) as running:
        said = {"From": "<joe@example.com>", "Rcpt": "a@x.example,b@x.example", "IP": "192.0.2.7", "User": "joe"}
        status, body = await running.ask("/checkv2", MESSAGE.replace(b"\r", b""), Queue_Id="Q1", **said)

    (submission,) = running.gate.submissions
    assert status == 200
    assert json.loads(body)["action"] == "no action"
    assert json.loads(body)["milter"]["add_headers"] == {"X-Penstock-Ref": "t"}
    assert submission.raw == MESSAGE
    assert (submission.connection.login, submission.connection.client_ip) == ("joe", "192.0.2.7")
    assert (submission.envelope.rcpt_to, submission.queue_id) == (("a@x.example", "b@x.example"), "Q1")
    assert submission.connection.listener == "http"
    assert running.counts["http-messages"] == 1


async def test_the_older_shape_for_zonemta():
    """`/check` and its siblings put the metric under `default`."""
    async with Running(FakeGate(lambda one: decision(one, Action.THROTTLE, reply=THROTTLED))) as running:
        for path in ("/check", "/symbols", "/check?from=a@x"):
            status, body = await running.ask(path, MESSAGE)
            assert (status, json.loads(body)["default"]["action"]) == (200, "soft reject")

    assert running.gate.submissions[2].envelope.mail_from == "a@x"


async def test_exim_asks_on_the_same_port():
    """The line protocol is told by its first line, answered, and closed; Exim never closes first."""
    async with Running(FakeGate(lambda one: decision(one, Action.REJECT, reply=THROTTLED))) as running:
        answer = await running.line(rspamc(MESSAGE, "From: <joe@x>", "Rcpt: <a@y>", "User: joe"))

    assert answer.startswith(b"RSPAMD/1.3 0 EX_OK\r\nMetric: default; True; 15.00 / 15.00 / 0.0\r\nAction: reject\r\n")
    assert running.gate.submissions[0].connection.login == "joe"


async def test_a_connection_is_kept_and_chunks_are_read():
    """Haraka's chunked upload, byte by byte, then a second request, then two at once."""
    async with Running() as running:
        reader, writer = await running.open()
        chunked = b"POST /checkv2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked += b"".join(b"1\r\n%c\r\n" % byte for byte in MESSAGE) + b"0\r\n\r\n"
        for at in range(len(chunked)):
            writer.write(chunked[at : at + 1])
            await asyncio.sleep(0)
        assert (await response(reader))[0] == 200
        writer.write(request("/checkv2", MESSAGE) + request("/ping", method="GET"))
        assert (await response(reader))[0] == 200
        assert await response(reader) == (200, b"pong\r\n")
        writer.close()

    assert [one.raw for one in running.gate.submissions] == [MESSAGE] * 2


async def test_a_client_that_shuts_down_its_side_is_answered():
    """In both protocols, also while its message is still being judged."""
    async with Running(FakeGate(judge_s=0.05)) as running:
        for data, begin in ((request("/checkv2", MESSAGE), b"HTTP/1.1 200"), (rspamc(), b"RSPAMD/1.3 0 EX_OK")):
            reader, writer = await running.open()
            writer.write(data)
            writer.write_eof()
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(begin)
            writer.close()


async def test_what_a_stranger_may():
    """Outside the trusted networks: a judgement in the stranger's own name, no metrics, health without facts."""
    async with Running(networks=ELSEWHERE) as running:
        await running.ask("/checkv2", MESSAGE, User="boss", IP="192.0.2.7")
        assert (await running.ask("/metrics", method="GET"))[0] == 403
        assert json.loads((await running.ask("/health", method="GET"))[1]) == {"ok": True}
        assert (await running.ask("/ping", method="GET"))[0] == 200

    connection = running.gate.submissions[0].connection
    assert (connection.login, connection.client_ip, connection.is_trusted_peer) == ("", "127.0.0.1", False)


async def test_a_password_is_asked_for():
    """Wrong or none is 403 in both protocols; the right one opens metrics to strangers too."""
    async with Running(networks=ELSEWHERE, password="pässword") as running:
        assert (await running.ask("/checkv2", MESSAGE))[0] == 403
        assert (await running.ask("/checkv2", MESSAGE, Password="wrong"))[0] == 403
        assert (await running.line(rspamc())).startswith(b"RSPAMD/1.3 77 ")
        assert running.gate.submissions == []
        assert (await running.ask("/checkv2", MESSAGE, Password="pässword"))[0] == 200
        assert (await running.ask("/metrics", Password="pässword"))[0] == 200

    assert running.counts["http-forbidden"] == 3


async def test_health_and_metrics():
    """200 or 503 with the facts; what the counters say."""
    async with Running() as running, Running(is_well=False) as ill:
        status, body = await running.ask("/health", method="GET")
        assert (status, json.loads(body)) == (200, {"ok": True, "store": "ok"})
        status, body = await ill.ask("/health", method="GET")
        assert (status, json.loads(body)) == (503, {"ok": False, "store": "gone"})
        assert await running.ask("/metrics", method="GET") == (200, b"a 1\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("/nowhere", MESSAGE), 404),
        (request("/checkv3", MESSAGE), 404),
        (request("/checkv2", b"", File="/etc/passwd"), 400),
        (request("/checkv2?path=/etc/passwd&shm=x"), 400),
        (request("/checkv2", MESSAGE, Compression="zstd"), 415),
        (request("/checkv2", b"x" * 1001), 413),
        (b"EHLO someone\r\n" * 10, 400),
    ],
)
async def test_errors_are_told(data, status):
    """As JSON, with a status that fits; files are never read for anybody."""
    async with Running(max_message_bytes=1000) as running:
        reader, writer = await running.open()
        writer.write(data)
        found, body = await response(reader)
        writer.close()

    assert found == status
    assert json.loads(body)["error"]
    assert running.gate.submissions == []


async def test_a_huge_upload_is_refused_and_costs_no_memory():
    """The answer arrives although the client is still sending."""
    async with Running(max_message_bytes=100_000) as running:
        reader, writer = await running.open()
        writer.write(b"POST /checkv2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n" % 65_536 + b"x" * 65_536 + b"\r\n"

        async def send():
            for _ in range(300):
                writer.write(piece)
                await writer.drain()

        sending = asyncio.create_task(send())
        assert (await response(reader))[0] == 413
        assert running.listener.in_flight_bytes == 0
        writer.close()
        await asyncio.gather(sending, return_exceptions=True)


async def test_too_much_at_once_is_told():
    """Beyond the common bound 503, and the room comes back."""
    may_go_on = asyncio.Event()

    class Patient(FakeGate):
        async def judge(self, submission):
            await may_go_on.wait()
            return await super().judge(submission)

    async with Running(Patient(), in_flight_bytes=150_000) as running:
        slow = asyncio.create_task(running.ask("/checkv2", b"x" * 100_000))
        async with asyncio.timeout(30):
            while running.listener.in_flight_bytes < 100_000:
                await asyncio.sleep(0.01)
        assert (await running.ask("/checkv2", b"x" * 100_000))[0] == 503
        may_go_on.set()
        assert (await slow)[0] == 200
        assert (await running.ask("/checkv2", b"x" * 100_000))[0] == 200

    assert running.listener.in_flight_bytes == 0


async def test_our_own_trouble_is_a_500():
    """A fault answers 500, or a failure that makes Exim defer; the connection and others go on."""

    def answer(submission):
        if b"boom" in submission.raw:
            raise RuntimeError("boom")
        return decision(submission)

    async with Running(FakeGate(answer)) as running:
        reader, writer = await running.open()
        writer.write(request("/checkv2", b"boom") + request("/checkv2", MESSAGE))
        status, body = await response(reader)
        assert (status, b"boom" in body) == (500, False)
        assert (await response(reader))[0] == 200
        writer.close()
        assert (await running.line(rspamc(b"boom"))).startswith(b"RSPAMD/1.3 75 ")

    assert running.counts["http-failures"] == 2


async def test_a_client_that_waits_to_be_asked():
    """curl sends large bodies only after `100 Continue`."""
    async with Running() as running:
        reader, writer = await running.open()
        head = b"POST /checkv2 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(MESSAGE)
        writer.write(head)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(MESSAGE)
        assert (await response(reader))[0] == 200
        writer.close()


async def test_those_who_dawdle_are_closed():
    """A request that does not end, a connection that says nothing, one that stops within its first line."""
    async with Running(idle_s=0.2, request_s=0.2) as running:
        found = await asyncio.gather(
            running.line(request("/checkv2", MESSAGE)[:-3]), running.line(b"POST"), running.line(b"")
        )

    assert found == [b"", b"", b""]
    assert running.counts["http-idle-closed"] == 3


async def test_two_hundred_clients_at_once():
    """Each gets its own answer."""
    async with Running(
        FakeGate(lambda one: decision(one, reply=Reply(250, "", one.queue_id)), judge_s=0.002)
    ) as running:

        async def client(number):
            reader, writer = await running.open()
            for turn in range(3):
                writer.write(request("/checkv2", MESSAGE, Queue_Id=f"{number}.{turn}"))
                _, body = await response(reader)
                assert json.loads(body)["messages"]["smtp_message"] == f"{number}.{turn}"
            writer.close()

        await asyncio.gather(*(client(number) for number in range(200)))

    assert len(running.gate.submissions) == 600


async def test_more_connections_than_allowed_are_closed():
    """The bound holds."""
    async with Running(max_connections=1) as running:
        reader, writer = await running.open()
        writer.write(request("/ping"))
        assert (await response(reader))[0] == 200
        second, other = await running.open()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(second.read(), 5) == b""
        other.close()
        writer.close()

    assert running.counts["http-connections-refused"] == 1


async def test_a_stop_lets_requests_finish():
    """Idle connections close, a request under way is answered and its connection closed."""
    running = Running(FakeGate(judge_s=0.1))
    await running.listener.start()
    idle, idle_writer = await running.open()
    busy, busy_writer = await running.open()
    busy_writer.write(request("/checkv2", MESSAGE))
    await asyncio.sleep(0.05)

    await asyncio.wait_for(running.listener.stop(5), 5)

    assert (await response(busy))[0] == 200
    assert await busy.read() == b""
    assert await idle.read() == b""
    idle_writer.close()
    busy_writer.close()


async def test_a_unix_socket_is_a_trusted_peer(tmp_path):
    """Its file's mode guards it."""
    path = tmp_path / "http.sock"
    async with Running(listen=(f"unix:{path}",), networks=()) as running:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request("/checkv2", MESSAGE, User="joe"))
        assert (await response(reader))[0] == 200
        writer.close()

    assert running.gate.submissions[0].connection.login == "joe"
    assert not path.exists()


def test_it_runs_on_uvloop():
    """Its transports are none of asyncio's by name; errors are told there too."""

    async def main():
        async with Running(max_message_bytes=1000) as running:
            good = await running.ask("/checkv2", MESSAGE)
            large = await running.ask("/checkv2", b"x" * 2000)
            return good[0], large[0], (await running.line(rspamc()))[:19]

    assert uvloop.run(main()) == (200, 413, b"RSPAMD/1.3 0 EX_OK\r")
