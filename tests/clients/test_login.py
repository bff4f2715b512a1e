"""Passwords: right, wrong, unknown, and not to be told apart by time; Dovecot there, slow or gone."""

import asyncio
import os
import time
from contextlib import asynccontextmanager

import pytest

from penstock.clients import login
from penstock.clients.login import DovecotLogin, LoginUnavailable, PasswordFile, hash_password


async def test_a_file_of_passwords_is_read_again_when_it_changes(tmp_path):
    """Logins without case; comments and nonsense are nobody; a new line counts at once."""
    path = tmp_path / "passwords"
    path.write_text(f"# people\n\nJoe@example.com:{hash_password('secret')}\nbroken:nonsense\nplain\n")
    passwords = PasswordFile(path)

    assert await passwords.check("joe@EXAMPLE.com", "secret", "") == "joe@example.com"
    assert await passwords.check("joe@example.com", "Secret", "") == ""
    assert await passwords.check("broken", "nonsense", "") == ""
    assert await passwords.check("# people", "", "") == ""
    assert await passwords.check("ann@example.com", "other", "") == ""
    path.write_text(f"ann@example.com:{hash_password('other')}\n")
    os.utime(path, ns=(1, 1))
    assert await passwords.check("ann@example.com", "other", "") == "ann@example.com"
    assert await passwords.check("joe@example.com", "secret", "") == ""


async def test_who_is_unknown_costs_as_much_as_who_is_known(tmp_path):
    """A password is hashed for both, so that time tells nobody who exists."""
    (tmp_path / "passwords").write_text(f"joe:{hash_password('secret')}\n")
    passwords = PasswordFile(tmp_path / "passwords")
    await passwords.check("joe", "x", "")

    async def cost(user):
        began = time.process_time()
        for _ in range(4):
            await passwords.check(user, "wrong", "")
        return time.process_time() - began

    assert await cost("nobody-here") > 0.4 * await cost("joe")


async def test_a_file_that_cannot_be_read_is_no_wrong_password(tmp_path):
    """Missing or not UTF-8: unavailable, so that the client comes again."""
    with pytest.raises(LoginUnavailable):
        await PasswordFile(tmp_path / "none").check("joe", "x", "")
    (tmp_path / "bad").write_bytes(b"\xff:x\n")
    with pytest.raises(LoginUnavailable):
        await PasswordFile(tmp_path / "bad").check("joe", "x", "")


@asynccontextmanager
async def dovecot(tmp_path, answer, handshake=b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nDONE\n"):
    """An auth socket that answers each request with `answer`; None closes."""
    asked = []

    async def serve(reader, writer):
        writer.write(handshake)
        while line := await reader.readline():
            if line.startswith(b"AUTH"):
                asked.append(line)
                if answer is None:
                    break
                writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "auth")
    try:
        yield str(tmp_path / "auth"), asked
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"OK\t1\tuser=joe@example.com\n", "joe@example.com"),
        (b"OK\t1\n", "JOE"),
        (b"FAIL\t1\tuser=joe\treason=no\n", ""),
        (b"CONT\t1\t\n", ""),
    ],
)
async def test_dovecot_says_who_it_is(tmp_path, answer, name):
    """Its own spelling of the login counts; where the client sits is passed on."""
    async with dovecot(tmp_path, answer) as (path, asked):
        assert await DovecotLogin(path).check("JOE", "secret", "192.0.2.7") == name
        assert b"\trip=192.0.2.7\t" in asked[0]
        assert await DovecotLogin(path).check("joe\0", "secret", "") == ""


@pytest.mark.parametrize(
    ("answer", "handshake"),
    [
        (b"FAIL\t1\ttemp\n", b"VERSION\t1\t2\nMECH\tPLAIN\nDONE\n"),
        (None, b"VERSION\t1\t2\nMECH\tPLAIN\nDONE\n"),
        (b"", b"VERSION\t9\t0\nDONE\n"),
        (b"", b"VERSION\t1\t2\nMECH\tCRAM-MD5\nDONE\n"),
        (b"", b"x" * 100_000),
        (b"", b"VERSION\t1\t2\nMECH\tPLAIN\nDONE\n"),
    ],
)
async def test_a_dovecot_that_cannot_tell_is_unavailable(tmp_path, monkeypatch, answer, handshake):
    """Temporary failures, a closed connection, another protocol, a flood, silence."""
    monkeypatch.setattr(login, "_DOVECOT_S", 0.3)
    async with dovecot(tmp_path, answer, handshake) as (path, _):
        with pytest.raises(LoginUnavailable):
            await DovecotLogin(path).check("joe", "secret", "")
    with pytest.raises(LoginUnavailable):
        await DovecotLogin(str(tmp_path / "nobody")).check("joe", "secret", "")
