"""A real Dovecot: who is shut cannot log in to send, still reads his mail, and his sessions end; and back."""

import asyncio

import pytest

from neighbours.dovecot import DENY, Dovecot, Session
from penstock.clients.drivers import dovecot as driver
from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.clients.login import DovecotLogin
from penstock.model import Rung, Step, Thing

JOE = "joe@example.com"


def step(verb, name=JOE):
    return Step("k", 1.0, f"sasl:{name}", verb, Thing(Rung.MAILBOX, name))


@pytest.fixture
async def server():
    async with Dovecot({JOE: "secret", "ann@example.com": "other"}, DENY) as found:
        yield found


def made(server, *services, **more):
    files = [server.folder / "shut" / f"deny.{one}" for one in services]
    program = more.pop("program", ["doveadm", "-c", str(server.configuration)])
    return driver.Dovecot(files, driver.Doveadm(program, **more))


async def test_who_is_shut_cannot_send_and_still_reads_his_mail(server):
    """Though his password was right a moment ago, and is remembered. Others notice nothing."""
    login = DovecotLogin(str(server.socket))
    shutter = made(server, "smtp")
    assert await login.check(JOE, "secret", "192.0.2.1") == JOE
    assert (await shutter.carry_out(step("shut"))).startswith("denied")
    assert (await shutter.carry_out(step("shut"))).startswith("denied (as before)")
    assert await login.check(JOE, "secret", "192.0.2.1") == ""
    assert await login.check("ann@example.com", "other", "192.0.2.1") == "ann@example.com"
    async with Session(server.imap) as session:
        assert (await session.say(f"login {JOE} secret")).startswith("OK")

    await shutter.carry_out(step("open"))
    assert await login.check(JOE, "secret", "192.0.2.1") == JOE


@pytest.mark.parametrize("how", ["program", "api"])
async def test_sessions_end_when_it_is_shut_and_before_it_is_opened(server, how):
    """By doveadm, and by its HTTP API."""
    api = {"program": [], "url": f"http://127.0.0.1:{server.api}/doveadm/v1", "key": "key"}
    shutter = made(server, "smtp", "imap", **(api if how == "api" else {}))
    async with Session(server.imap) as session, Session(server.imap) as other:
        assert (await session.say(f"login {JOE} secret")).startswith("OK")
        assert (await other.say("login ann@example.com other")).startswith("OK")
        assert (await shutter.carry_out(step("shut"))).endswith("sessions ended")
        async with asyncio.timeout(20):  # the signal is under way when doveadm says that it is sent
            while await session.say("noop"):
                await asyncio.sleep(0.05)
        assert (await other.say("noop")).startswith("OK")
    async with Session(server.imap) as session:
        assert (await session.say(f"login {JOE} secret")).startswith("NO")
    assert (await shutter.carry_out(step("open"))).endswith("nobody was logged in")
    await shutter.close()


async def test_a_name_that_means_more_than_one_account_is_refused(server):
    """doveadm takes masks; a file takes lines."""
    for name in ("*", "j?e@example.com", "joe\nann", "a:b", "joe ann", "#x", ""):
        with pytest.raises(Refused):
            await made(server, "smtp").carry_out(step("shut", name))


async def test_a_dovecot_that_is_away_or_does_not_believe_us_is_waited_for(server):
    """A wrong key, a port where nobody listens, a program that fails."""
    url = f"http://127.0.0.1:{server.api}/doveadm/v1"
    for more in ({"url": url, "key": "wrong"}, {"url": "http://127.0.0.1:1/doveadm/v1"}):
        with pytest.raises(Unavailable):
            await made(server, "smtp", program=[], **more).carry_out(step("shut"))
    with pytest.raises(Unavailable):
        await made(server, "smtp", program=["doveadm", "-c", "/nonexistent"]).carry_out(step("shut"))
