"""A certificate that is renewed while the relay runs."""

import asyncio
import shutil
import ssl
import subprocess

import pytest
import structlog
import uvloop
from tests.listeners.test_smtp import Client, relay
from tests.neighbours.sink import Sink

from penstock.listeners import certificate as module
from penstock.listeners.certificate import Certificate


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two pairs of certificate and key as openssl makes them: (chain, key) and what a client sees."""
    found = []
    for name in ("old", "new"):
        folder = tmp_path_factory.mktemp(name)
        line = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout key.pem -out cert.pem"
        subprocess.run(line.split(), cwd=folder, check=True, capture_output=True)
        seen = ssl.PEM_cert_to_DER_cert((folder / "cert.pem").read_text())
        found.append((folder / "cert.pem", folder / "key.pem", seen))
    return found


@pytest.fixture
def files(pairs, tmp_path):
    """The files of a running relay, with the old pair in them."""
    put(pairs[0], tmp_path)
    return tmp_path


def put(pair, folder):
    shutil.copy(pair[0], folder / "cert.pem")
    shutil.copy(pair[1], folder / "key.pem")


def lenient():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def seen_by_both(listener):
    """The certificate as seen after STARTTLS and on the port where TLS comes first."""
    client = await Client.to(listener)
    await client.say("EHLO me")
    await client.say("STARTTLS")
    await client.writer.start_tls(lenient())
    first = client.writer.get_extra_info("ssl_object").getpeercert(True)
    await client.close()
    host, _, port = listener.addresses[-1].rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=lenient())
    second = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    assert first == second
    return first


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_renewed_certificate_is_served_without_a_restart(run, pairs, files, monkeypatch):
    """Both ways into TLS serve the new pair to the next client; one that does not fit changes nothing."""
    monkeypatch.setattr(module, "_LOOK_S", 0.0)
    more = {"certificate": files / "cert.pem", "key": files / "key.pem", "listen_tls": ("127.0.0.1:0",)}

    async def session():
        async with Sink() as sink, relay(sink, **more) as listener:
            assert await seen_by_both(listener) == pairs[0][2]
            shutil.copy(pairs[1][0], files / "cert.pem")  # its key is not there yet
            assert await seen_by_both(listener) == pairs[0][2]
            put(pairs[1], files)
            assert await seen_by_both(listener) == pairs[1][2]

    run(session())


def test_broken_files_keep_the_certificate_and_are_logged_once(pairs, files):
    """Files are looked at once a minute; gone, torn or encrypted, they leave what was there."""
    at = [0.0]
    one = Certificate(files / "cert.pem", files / "key.pem", clock=lambda: at[0])
    with structlog.testing.capture_logs() as lines:
        for content in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n", None):
            if content is None:
                (files / "key.pem").unlink()
            else:
                (files / "cert.pem").write_bytes(content)
            for _ in range(3):
                at[0] += 61
                assert handshake(one) == pairs[0][2]
        put(pairs[1], files)
        assert handshake(one) == pairs[0][2]  # within the minute
        at[0] += 61
        assert handshake(one) == pairs[1][2]

    assert [line["event"] for line in lines] == ["certificate-kept"] * 3 + ["certificate-renewed"]


def test_an_encrypted_key_is_refused_and_not_asked_about(files):
    """No prompt halts the service at its terminal."""
    line = "openssl rsa -aes128 -passout pass:secret -in key.pem -out locked.pem"
    subprocess.run(line.split(), cwd=files, check=True, capture_output=True)
    with pytest.raises(ssl.SSLError):
        Certificate(files / "cert.pem", files / "locked.pem")


def handshake(one):
    """What a client is shown, without a network."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = one.context.wrap_bio(a, b, server_side=True), lenient().wrap_bio(b, a)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(True)
