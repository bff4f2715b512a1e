"""The pipeline's entries for logins: asked and told, by any store, and what a login says about the first message."""

import asyncio
import ipaddress

import pytest

from penstock.attempts import Attempt, Location, Permission
from penstock.judge.identity import Extractor, Identity
from penstock.judge.login_past import read_logins
from penstock.judge.policy import Policy
from penstock.judge.rules import LoginRules, Rules
from penstock.model import Event, Mode, Standing
from penstock.pipeline import Pipeline
from penstock.store.memory import MemoryStore
from penstock.store.ports import StoreUnavailable
from penstock.store.sqlite import SqliteStore

NOW, DAY = 1_800_000_000.0, 86400.0
JOE, HOME = "sasl:joe@example.com", "192.0.2.7"


class Told:
    def __init__(self):
        self.asked, self.counted, self.troubles = [], [], []

    def decided(self, row, judged_s):
        pass

    def logged_in(self, attempt, permission, *, is_asked):
        (self.asked if is_asked else self.counted).append((attempt, permission))

    def failed(self, where, trouble):
        self.troubles.append((where, trouble))


class Listed:
    """Knows one list, and counts who was looked up."""

    def __init__(self):
        self.asked = []

    async def locate(self, ip):
        self.asked.append(ip)
        return Location(lists=("authbl",))


class Broken(MemoryStore):
    async def read(self, keys):
        raise StoreUnavailable("gone")


class Stuck(MemoryStore):
    async def read(self, keys):
        await asyncio.sleep(60)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    is_memory = request.param == "memory"
    made = MemoryStore(now=lambda: NOW) if is_memory else SqliteStore(tmp_path / "p.sqlite", now=lambda: NOW)
    await made.open()
    yield made
    await made.close()


class Gate:
    """A pipeline with logins of its own."""

    def __init__(self, store, *, mode=Mode.ENFORCE, logins=None, locator=None):
        identity = Identity((Extractor("login", "sasl"),), ())
        rules = Rules(
            identity=identity, policy=Policy.from_budgets(), mode=mode, reference_key=b"k" * 32,
            reply_reason=lambda _: "policy", logins=logins or LoginRules(),
        )  # fmt: skip
        self.store, self.told, self.now = store, Told(), NOW - 40 * DAY
        self.pipeline = Pipeline(store, None, rules, self.told, clock=lambda: 0.0, locator=locator)

    def attempt(self, ip=HOME, login="Joe@Example.com", **more):
        return Attempt(self.now, login, ip, more.pop("service", "imap"), **more)

    async def ask(self, ip=HOME, **more):
        return await self.pipeline.may_log_in(self.attempt(ip, **more))

    async def tell(self, ip=HOME, **more):
        return await self.pipeline.logged_in(self.attempt(ip, **more))

    async def wrong(self, ip=HOME, **more):
        return await self.tell(ip, is_good=False, is_wrong_password=True, **more)

    async def live_at_home(self, days=30):
        for _ in range(days):
            self.now += DAY
            await self.tell()

    async def logins(self, name=JOE):
        return read_logins((await self.store.read((f"i:{name}",)))[f"i:{name}"])


def stranger(number):
    return f"198.18.{number}.9"


async def test_two_questions_and_one_report_count_once(store):
    """Dovecot asks before and after it looks at the password; only its report counts."""
    gate = Gate(store)
    for _ in range(2):
        assert not (await gate.ask()).is_refused
    await gate.tell(session="abc")
    await gate.tell(session="abc")

    (seen,) = (await gate.logins()).sources
    assert (seen.source, seen.good) == ("192.0.2.0/24", 1)
    assert len(gate.told.counted) == 1


async def test_a_login_told_by_two_ways_counts_once(store):
    """The policy's report and the log's line of one session, in whatever order, from a place that is new."""
    gate = Gate(store)
    await gate.tell(session="abc")
    gate.now += 2 * 3600
    await gate.tell(session="abc")

    assert (await gate.logins()).sources[0].good == 1


async def test_a_suspended_account_is_refused_where_it_sends_and_reads_on(store):
    """By default on SMTP alone, so that its owner reads what he is told; others log in."""
    gate = Gate(store)
    await gate.live_at_home(3)
    await gate.pipeline.steer(JOE, Standing.SUSPENDED, who="me", reason="test", now=gate.now)

    found = await gate.ask(service="smtp")
    assert (found.is_refused, found.reason) == (True, "PS-SUSPENDED")
    assert not (await gate.ask(service="imap")).is_refused
    assert not (await gate.ask(service="smtp", login="ann@example.com")).is_refused
    everywhere = Gate(store, logins=LoginRules(suspended="all"))
    assert (await everywhere.ask(service="imap")).is_refused
    nowhere = Gate(store, logins=LoginRules(suspended="nothing"))
    assert not (await nowhere.ask(service="smtp")).is_refused


async def test_a_leaked_password_is_refused_on_record_and_told_once(store):
    """From the places of strangers; the owner at home is not asked twice."""
    gate = Gate(store)
    await gate.live_at_home()
    answers = []
    for number in range(30):
        gate.now += 60
        answers.append(await gate.ask(stranger(number), service="smtp"))
        if not answers[-1].is_refused:
            await gate.tell(stranger(number), service="smtp")
        assert not (await gate.ask()).is_refused

    assert answers[-1].reason == "PS-LOGIN" and sum(one.is_refused for one in answers) >= 20
    assert "PS-LOGIN" in answers[-1].text and "joe" not in answers[-1].text
    assert [one.what for one in await store.audit(target=JOE)] == ["refuse-login"]
    assert [one.payload["what"] for one in await store.outbox(topic="notice")] == ["login"]


@pytest.mark.parametrize("more", [{"mode": Mode.OBSERVE}, {"logins": LoginRules(may_refuse=False)}])
async def test_observing_refuses_nobody_and_says_what_it_would(store, more):
    """Also where refusing is switched off; and a crowd that gets in does not become usual."""
    gate = Gate(store, **more)
    await gate.live_at_home()
    found = Permission()
    for number in range(200):
        gate.now += 60
        found = await gate.ask(stranger(number))
        assert not found.is_refused
        await gate.tell(stranger(number))
    assert found.is_wanted_refused


@pytest.mark.parametrize("kind", [Broken, Stuck])
async def test_without_a_store_logins_go_on(kind):
    """Within the time that Dovecot waits, and counted."""
    gate = Gate(kind(now=lambda: NOW))
    began = asyncio.get_running_loop().time()

    found = await gate.ask()
    assert not found.is_refused and not found.is_judged
    assert asyncio.get_running_loop().time() - began < 1.9
    assert gate.told.troubles and not gate.told.asked[0][1].is_judged


async def test_names_that_are_only_guessed_leave_nothing(store):
    """A wrong password of an account that nobody knows fills no memory."""
    gate = Gate(store)
    await gate.wrong(login="nobody@example.com", password="a")
    state = await store.read(("a:sasl:nobody@example.com", "i:sasl:nobody@example.com"))

    assert set(state.values()) == {None}


async def test_who_tries_many_accounts_is_known_at_each(store):
    """One source's failures at others speak where it succeeds."""
    gate = Gate(store)
    await gate.live_at_home()
    for number in range(8):
        await gate.wrong(stranger(1), login=f"u{number}@example.com", password="a")

    assert (await gate.ask(stranger(1))).reason == "PS-LOGIN"
    assert not (await gate.ask()).is_refused


async def test_a_web_mails_address_says_nothing(store):
    """It logs in for everybody."""
    own = (ipaddress.ip_network("192.0.2.80/32"),)
    gate = Gate(store, logins=LoginRules(own_hosts=own))
    await gate.tell("192.0.2.80")

    assert (await gate.logins()).sources == []
    assert not (await gate.ask("192.0.2.80")).is_refused


async def test_lists_are_asked_about_strangers_alone(store):
    """Whom the account knows is looked up nowhere."""
    locator = Listed()
    gate = Gate(store, locator=locator)
    await gate.tell()
    locator.asked.clear()
    gate.now += DAY
    await gate.ask()
    await gate.tell()
    found = await gate.ask(stranger(1))

    assert locator.asked == [stranger(1)]
    assert "listed-source" in {one.name for one in found.evidence}


async def test_events_of_logins_take_the_same_way(store):
    """Replays, and whoever tells of logins as events."""
    gate = Gate(store)
    await gate.pipeline.absorb(Event(NOW, "login", JOE, source="192.0.2.0/24", service="imap"))
    await gate.pipeline.absorb(Event(NOW, "login-failed", JOE, source="198.18.1.0/24", service="imap"))

    logins = await gate.logins()
    assert [one.source for one in logins.sources] == ["192.0.2.0/24"] and len(logins.wrong) == 1
