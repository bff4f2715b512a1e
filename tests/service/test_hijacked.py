"""A hijacked account from suspension to probation: real Dovecot, real Postfix, Penstock, and a sink for all mail."""

import asyncio
import json
import time
import urllib.request
from email import message_from_bytes
from email.policy import default

from test_dovecot_logins import JOE, LETTER, PASSWORDS, imap, submission

from neighbours.dovecot import DENY, Dovecot
from neighbours.postfix import Postfix
from neighbours.sink import Sink
from penstock.config import parse_settings
from penstock.model import Event, Standing
from penstock.service import Service
from penstock.watch import Watch

ACCOUNT, HOME = f"sasl:{JOE}", "127.20.0.9"
SETTINGS = """
hostname = "penstock.provider.example"
[http]
listen = ["127.0.0.1:0"]
password = "word"
[milter]
listen = ["127.0.0.1:0"]
[judge]
mode = "enforce"
[next_hop]
address = "{sink}"
[notices]
to = ["desk@provider.example"]
contacts_file = "{folder}/contacts"
[enforcement]
probation_recipients_per_day = 3
release_conditions = ["password-changed", "sessions-ended"]
[enforcement.dovecot.imap]
files = ["{shut}/deny.smtp"]
doveadm = ["doveadm", "-c", "{conf}"]
[store]
path = "{folder}/penstock.sqlite"
"""


async def until(is_true, what):
    """Wait until something is true, at most thirty seconds."""
    try:
        async with asyncio.timeout(30):
            while not await is_true():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def tell_password_changed(url):
    request = urllib.request.Request(f"{url}/password-changed", json.dumps({"login": JOE}).encode())
    request.add_header("Password", "word")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


async def test_a_hijacked_account_is_shut_told_and_let_in_on_probation(tmp_path):
    """No login to send while the owner reads on; a notice in his language elsewhere; a new password; few recipients."""
    (tmp_path / "contacts").write_text(f"{ACCOUNT} private@home.example de\n")
    async with Sink() as sink, Dovecot(PASSWORDS, DENY) as dovecot:
        facts = {"folder": tmp_path, "sink": sink.address, "shut": dovecot.folder / "shut"}
        service = Service(parse_settings(SETTINGS.format(conf=dovecot.configuration, **facts)), watch=Watch(None))
        await service.start()
        try:
            milter, main = service.addresses()["milter"][0], f"smtpd_sasl_path = {dovecot.socket}\n"
            async with Postfix(sink=sink.address, milter=milter, main=main) as postfix:
                await from_suspension_to_probation(service, dovecot, postfix, sink)
        finally:
            await service.stop(2.0)


async def from_suspension_to_probation(service, dovecot, postfix, sink):
    def send(password, message=b"", to=()):
        return asyncio.to_thread(submission, postfix.port, HOME, password, JOE, message, to)

    assert await send("right", LETTER, ["ann@example.net"]) == 250
    for number in range(2):
        trap = Event(time.time(), "spamtrap", ACCOUNT, recipient=f"t{number}@trap.example", key=f"spamtrap/{number}")
        standing = await service.pipeline.absorb(trap)
    assert standing is Standing.SUSPENDED

    async def is_denied():
        return await send("right") == 535

    await until(is_denied, "the login to send is denied")
    assert (await imap(dovecot, HOME)).startswith("OK"), "its owner reads on"

    async def is_told():
        return any("private@home.example" in rcpts for _, rcpts, _ in sink.messages)

    await until(is_told, "the customer is told elsewhere")
    (raw,) = [raw for _, rcpts, raw in sink.messages if "private@home.example" in rcpts]
    notice = message_from_bytes(raw, policy=default)
    assert notice["Subject"] == f"Versand gesperrt: {JOE}"
    assert "Ändern Sie das Passwort" in notice.get_body().get_content()

    dovecot.set_password(JOE, "new")
    url = f"http://{service.addresses()['http'][0]}"
    assert (await asyncio.to_thread(tell_password_changed, url))["taken"]

    async def is_open():
        return await send("new") == 235

    await until(is_open, "the login to send is open")
    assert await send("right") == 535
    assert await send("new", LETTER, ["ann@example.net"]) == 250

    async def is_on_probation():
        many = [f"r{number}@example.net" for number in range(4)]
        return await send("new", LETTER, many) >= 400

    await until(is_on_probation, "few recipients a day")

    async def is_on_record():
        done = {one.what for one in await service.store.audit(target=ACCOUNT, limit=50)}
        return {"shut-mailbox", "confirm-condition", "begin-probation", "open-mailbox"} <= done

    await until(is_on_record, "each step is on record")
