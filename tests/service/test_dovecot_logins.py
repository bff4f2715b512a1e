"""A real Dovecot, and a real Postfix that takes logins through it, ask Penstock about every login."""

import asyncio
import contextlib
import smtplib
import time
from base64 import b64encode

import pytest

from neighbours.dovecot import Dovecot, Session
from neighbours.postfix import Postfix
from neighbours.sink import Sink
from penstock.attempts import Attempt
from penstock.config import parse_settings
from penstock.judge.login_past import read_logins
from penstock.model import Standing
from penstock.service import Service
from penstock.watch import Watch

DAY = 86400.0
JOE, ANN = "joe@example.com", "ann@example.com"
PASSWORDS = {JOE: "right", ANN: "word"}
HOME = "127.20.0.9"
POLICY = """
auth_policy_server_url = http://{http}/
auth_policy_hash_nonce = a-random-text
auth_policy_check_before_auth = {before}
"""
SETTINGS = """
hostname = "penstock.provider.example"
[http]
listen = ["127.0.0.1:0"]
[milter]
listen = ["127.0.0.1:0"]
[judge]
mode = "{mode}"
[logins]
suspended = "{suspended}"
[store]
path = "{folder}/penstock.sqlite"
"""


class Told(Watch):
    """Counters that can be read."""

    def __init__(self):
        super().__init__(None)
        self.seen = {}

    def count(self, name):
        super().count(name)
        self.seen[name] = self.seen.get(name, 0) + 1


@contextlib.asynccontextmanager
async def platform(folder, *, mode="enforce", suspended="smtp", before="no"):
    """Penstock, and a Dovecot that asks it."""
    text = SETTINGS.format(folder=folder, mode=mode, suspended=suspended)
    service = Service(parse_settings(text), watch=Told())
    await service.start()
    try:
        http = service.addresses()["http"][0]
        async with Dovecot(PASSWORDS, POLICY.format(http=http, before=before)) as dovecot:
            yield service, dovecot
    finally:
        await service.stop(2.0)


async def live_at_home(service, login=JOE, days=30):
    """The owner has read his mail from home every day for a month."""
    for day in range(days, 0, -1):
        await service.pipeline.logged_in(Attempt(time.time() - day * DAY, login, HOME, "imap"))


async def imap(dovecot, client_ip, password="right", login=JOE):
    """What IMAP says to a login from an address."""
    async with Session(dovecot.imap, client_ip) as session:
        return await session.say(f"login {login} {password}")


async def until(is_true, text=""):
    """Wait until something is true, at most ten seconds."""
    async with asyncio.timeout(10):
        while not await is_true():
            await asyncio.sleep(0.02)


async def logins(service, login=JOE):
    key = f"i:sasl:{login}"
    return read_logins((await service.store.read((key,)))[key])


def counted(service, name):
    return service._watch.seen.get(name, 0)


@pytest.mark.parametrize("before", ["no", "yes"])
async def test_a_good_login_counts_once(tmp_path, before):
    """Dovecot asks once or twice by its settings, and reports once."""
    async with platform(tmp_path, before=before) as (service, dovecot):
        assert (await imap(dovecot, HOME)).startswith("OK")
        await until(lambda: _is(lambda: counted(service, "logins") == 1))
        (seen,) = (await logins(service)).sources

    assert (seen.source, seen.good, seen.services) == ("127.20.0.0/24", 1, ["imap"])
    assert counted(service, "logins-asked") == (2 if before == "yes" else 1)


async def _is(check):
    return check()


async def test_different_wrong_passwords_count_and_one_repeated_does_not(tmp_path):
    """Told apart by a few bits of Dovecot's hash; then the right one from there is under suspicion."""
    async with platform(tmp_path) as (service, dovecot):
        await live_at_home(service)
        for word in ("old", "old", "old", "guess1", "guess2", "guess3"):
            assert (await imap(dovecot, "127.30.0.9", word)).startswith("NO")
        await until(lambda: _is(lambda: counted(service, "logins-failed") >= 4))
        wrong = (await logins(service)).wrong
        found = await service.pipeline.may_log_in(Attempt(time.time(), JOE, "127.30.0.9", "imap"))

    assert 3 <= len(wrong) <= 4  # of 4096 hashes two may be the same
    assert "guessed" in {one.name for one in found.evidence}


@pytest.mark.parametrize("suspended", ["smtp", "all"])
async def test_a_suspended_account_is_refused_while_others_log_in(tmp_path, suspended):
    """On SMTP alone, so that its owner reads his mail, or everywhere."""
    async with platform(tmp_path, suspended=suspended) as (service, dovecot), Sink() as sink:
        await service.pipeline.steer(f"sasl:{JOE}", Standing.SUSPENDED, who="me", reason="test", now=time.time())
        async with Postfix(sink=sink.address, main=f"smtpd_sasl_path = {dovecot.socket}\n") as postfix:
            assert await asyncio.to_thread(submission, postfix.port, HOME, "right") == 535
            assert await asyncio.to_thread(submission, postfix.port, HOME, "word", ANN) == 235
        assert (await imap(dovecot, HOME))[:2] == ("NO" if suspended == "all" else "OK")
        assert (await imap(dovecot, HOME, "word", ANN)).startswith("OK")


def submission(port, client_ip, password, login=JOE, message=b"", to=()):
    """A login over SMTP from an address, and perhaps a message; the code that ended it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20, source_address=(client_ip, 0)) as client:
        client.ehlo("laptop")
        code, _ = client.docmd("AUTH PLAIN", b64encode(f"\0{login}\0{password}".encode()).decode())
        if code != 235 or not message:
            return code
        try:
            client.sendmail(login, to, message)
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as refusal:
            return getattr(refusal, "smtp_code", 550)
        return 250


SPAM = b"""Subject: You have been selected, claim your prize now\r
From: Lottery <joe@example.com>\r
To: you@far.example\r
Date: Wed, 25 Nov 2026 02:00:00 +0000\r
Message-ID: <%d@far.example>\r
\r
Dear winner, your email has won 2,500,000 USD in our lottery. Click http://claim%d.prize.example/now to claim your\r
money before midnight. Send your bank account and password. Viagra, casino, bitcoin investment, act now!!!\r
"""


LETTER = b"Subject: dinner\r\nFrom: joe@example.com\r\nTo: ann@example.net\r\n\r\nSee you at eight.\r\n"


@contextlib.asynccontextmanager
async def leaked(folder):
    """The owner has a past at home; thieves have his password. Whoever comes: the code that ended his session."""
    async with platform(folder) as (service, dovecot), Sink() as sink:
        await live_at_home(service)
        milter, main = service.addresses()["milter"][0], f"smtpd_sasl_path = {dovecot.socket}\n"
        async with Postfix(sink=sink.address, milter=milter, main=main) as postfix:

            async def thief(number, *, sends):
                spam, to = SPAM % (number, number), [f"victim{number}-{n}@far.example" for n in range(5)]
                what = (JOE, spam, to) if sends else (JOE,)
                return await asyncio.to_thread(submission, postfix.port, f"127.{40 + number}.0.9", "right", *what)

            yield service, dovecot, sink, postfix, thief


async def test_a_leaked_password_from_thirty_networks_is_refused_before_the_first_spam(tmp_path):
    """Thieves try the password from thirty networks, then send: they are refused, and the owner reads and writes on."""
    async with leaked(tmp_path) as (service, dovecot, sink, postfix, thief):
        codes = []
        for number in range(30):
            codes.append(await thief(number, sends=False))
            if number % 5 == 0:
                assert (await imap(dovecot, HOME)).startswith("OK"), number
        tries = await asyncio.gather(*(thief(number, sends=True) for number in range(30)))

        assert codes.count(535) >= 20 and set(tries) == {535}
        sent = await asyncio.to_thread(submission, postfix.port, HOME, "right", JOE, LETTER, ["ann@example.net"])
        await until(lambda: _is(lambda: len(sink.messages) == 1))
        assert sent == 250 and b"dinner" in sink.messages[0][2]
        assert (await imap(dovecot, HOME)).startswith("OK")
        assert (await service.store.account(f"sasl:{JOE}")).standing is not Standing.SUSPENDED
        assert "refuse-login" in {one.what for one in await service.store.audit(target=f"sasl:{JOE}")}


async def test_thieves_who_send_at_once_deliver_nothing_and_the_owner_reads_on(tmp_path):
    """Each thief's first session sends: what the login said is there before the message, and holds it."""
    async with leaked(tmp_path) as (service, dovecot, sink, _, thief):
        codes = [await thief(number, sends=True) for number in range(6)]
        codes += await asyncio.gather(*(thief(number, sends=True) for number in range(6, 30)))
        held = await service.store.held(account=f"sasl:{JOE}", limit=100)

        assert sink.messages == [] and held and held[0].reason
        assert codes.count(535) >= 24
        assert (await imap(dovecot, HOME)).startswith("OK")


async def test_observing_refuses_nobody_and_without_penstock_people_get_in(tmp_path):
    """The metrics say what would have been refused; a Penstock that is away stops nobody."""
    async with platform(tmp_path, mode="observe") as (service, dovecot):
        await live_at_home(service)
        for number in range(12):
            assert (await imap(dovecot, f"127.{40 + number}.0.9")).startswith("OK")
        await until(lambda: _is(lambda: counted(service, "logins") >= 42))
        await service.listeners["http"].stop(0.0)
        assert (await imap(dovecot, HOME)).startswith("OK")

    assert counted(service, "logins-wanted-refused") >= 1 and counted(service, "logins-refused") == 0
