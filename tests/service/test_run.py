"""`penstock run` as systemd runs it: ready, several processes on one port, a killed one back, an orderly end."""

import asyncio
import contextlib
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time

import psutil
import pytest

from neighbours.postfix import free_port

CONFIG = """
workers = 2
[smtp]
listen = ["127.0.0.1:{smtp}"]
[http]
listen = ["127.0.0.1:{http}"]
[next_hop]
address = "maildir:{folder}/sink"
[store]
path = "{folder}/penstock.sqlite"
"""


@contextlib.contextmanager
def running(folder):
    """A Penstock of two workers; its ports and its process, once it says that it is ready."""
    ports = {"smtp": free_port(), "http": free_port()}
    (folder / "penstock.toml").write_text(CONFIG.format(folder=folder, **ports))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(folder / "notify"))
        notify.settimeout(30)
        environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        command = [sys.executable, "-m", "penstock", "run", "-c", str(folder / "penstock.toml")]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        try:
            assert {notify.recv(100), notify.recv(100)} == {b"READY=1"}
            yield ports, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=40)


def send(port, number):
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail("joe@example.com", ["ann@example.org"], f"Subject: n{number}\r\n\r\nhello\r\n".encode())


def arrived(folder):
    return len(list((folder / "sink" / "new").glob("*"))) if (folder / "sink" / "new").is_dir() else 0


def listening(process, port):
    """The workers that listen on a port."""
    found = set()
    for one in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):
            sockets = one.net_connections("tcp")
            found |= {one.pid for each in sockets if each.status == psutil.CONN_LISTEN and each.laddr.port == port}
    return found


def test_two_workers_share_the_ports_and_one_that_dies_comes_back(tmp_path):
    """Mail flows before and after a worker is killed; SIGTERM ends all with status 0."""
    with running(tmp_path) as (ports, process):
        for number in range(20):
            send(ports["smtp"], number)
        assert arrived(tmp_path) == 20
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        children[0].kill()
        until = time.monotonic() + 60
        while listening(process, ports["smtp"]) - {children[0].pid} == {children[1].pid}:
            assert time.monotonic() < until
            time.sleep(0.1)
        for number in range(20):
            send(ports["smtp"], number)
        assert arrived(tmp_path) == 40
    assert process.returncode == 0
    assert not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_broken_configuration_ends_at_once_with_all_faults(tmp_path):
    """Status 2, no traceback."""
    (tmp_path / "p.toml").write_text('[smtp]\nlisten = ["2525"]\nnonsense = 1\n')
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "run", "-c", str(tmp_path / "p.toml")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert "smtp.nonsense" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", [20_000_000])
def test_a_huge_message_stalls_nobody(tmp_path, size):
    """While one client's 20 MB are judged and delivered, small messages of others go on within two seconds each.

    Where the machine is so busy that the huge one takes longer than ten, small ones may take their share of that.
    """

    async def work(ports):
        huge = b"Subject: huge\r\n\r\n" + b"a line of some length, again and again\r\n" * (size // 40)

        def send_huge():
            with smtplib.SMTP("127.0.0.1", ports["smtp"], timeout=60) as client:
                client.sendmail("big@example.com", ["ann@example.org"], huge)

        slow = asyncio.create_task(asyncio.to_thread(send_huge))
        longest, count, started = 0.0, 0, time.monotonic()
        while not slow.done() or count < 20:
            began = time.monotonic()
            await asyncio.to_thread(send, ports["smtp"], count)
            longest, count = max(longest, time.monotonic() - began), count + 1
        await slow
        return longest, time.monotonic() - started

    with running(tmp_path) as (ports, _):
        longest, whole = asyncio.run(work(ports))
    assert longest < max(2.0, whole / 5)
