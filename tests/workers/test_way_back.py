"""Suspended accounts come back: by a changed password, a script that is gone, or their time; on probation."""

from msgspec.structs import replace
from tests.workers.test_enforcement import JOE, House

from penstock.judge import limits
from penstock.judge.history import encode, read_account
from penstock.judge.way_back import Condition, Terms
from penstock.model import Event, Standing
from penstock.store.ports import Records, Turn, Write
from penstock.workers.way_back import WayBack

HOUR_S = 3600.0


async def by_machine(house, account=JOE):
    """A suspension that no person made."""
    await house.set(Standing.SUSPENDED, account)

    def step(state):
        one = read_account(state[f"a:{account}"], house.now)
        one.by_hand = False
        return {f"a:{account}": Write(encode(one), 1e9)}

    await house.store.update((Turn(f"a:{account}", (f"a:{account}",), step),), Records)
    await house.work()


def way_back_of(house, **terms):
    return WayBack(Terms(**terms), house.store, house.pipeline, hostname="mx1", now=lambda: house.now)


def standing(house, account=JOE):
    return house.store.account(account)


async def recipients_a_day(house, account=JOE):
    state = (await house.store.read((f"l:{account}",)))[f"l:{account}"]
    return [one.most for one in limits.in_force((), limits.decode(state), house.now)]


async def test_a_changed_password_opens_the_account_on_probation():
    """At once, with fewer recipients a day for a week."""
    house = House()
    await by_machine(house)
    house.now += 60.0
    assert await house.pipeline.absorb(Event(house.now, "password-changed", JOE)) is Standing.NORMAL
    await house.work()
    assert not house.panel.shut
    assert await recipients_a_day(house) == [50]
    house.now += 8 * 24 * HOUR_S
    assert await recipients_a_day(house) == []


async def test_where_more_is_asked_for_a_changed_password_is_not_enough():
    """The evidence is void, the account stays shut until forwards were looked through."""
    house = House()
    terms = Terms(frozenset((Condition.PASSWORD, Condition.FORWARDS)))
    house.pipeline._rules = replace(
        house.pipeline._rules, policy=replace(house.pipeline._rules.policy, password_releases=terms.password_releases)
    )
    await by_machine(house)
    back = way_back_of(house, conditions=terms.conditions)
    house.now += 60.0
    await house.pipeline.confirm(JOE, Condition.PASSWORD, who="panel", reason="reset", now=house.now)
    assert await back.run_once() == 0
    assert (await back.way(JOE)).missing == (Condition.FORWARDS,)
    await house.pipeline.confirm(JOE, Condition.FORWARDS, who="ann", reason="none", now=house.now)
    assert await back.run_once() == 1
    await house.work()
    assert not house.panel.shut
    assert (await standing(house)).standing is Standing.POOR
    assert {"confirm-condition", "begin-probation", "open-mailbox"} <= {
        one.what for one in await house.store.audit(target=JOE)
    }


async def test_releases_by_itself_come_later_each_time_and_end():
    """An hour, then two, then only a person; all by the record, whatever process looks."""
    house = House()
    times = []
    for _ in range(3):
        await by_machine(house)
        began = house.now
        for _ in range(10):
            house.now += HOUR_S / 2
            back = way_back_of(house, conditions=frozenset(), after_s=(HOUR_S, 2 * HOUR_S))
            if await back.run_once():
                times.append((house.now - began) / HOUR_S)
                await house.work()
                break
    assert times == [1.0, 2.0]
    assert (await standing(house)).standing is Standing.SUSPENDED


async def test_a_script_comes_back_when_its_file_is_gone_or_another_one(tmp_path):
    """Path and hash are noted when it is shut; another host's files are not looked at."""
    house, script = House(), tmp_path / "mail.php"
    script.write_text("<?php evil();")
    account = f"script:1017:{script}"
    await by_machine(house, account)
    back = way_back_of(house, after_s=(HOUR_S,))
    house.now += 2 * HOUR_S
    assert await back.run_once() == 0
    other = WayBack(Terms(after_s=(HOUR_S,)), house.store, house.pipeline, hostname="mx2", now=lambda: house.now)
    script.unlink()
    assert await other.run_once() == 0
    assert await back.run_once() == 1
    await house.work()
    assert not house.panel.shut

    script.write_text("<?php evil();")
    await by_machine(house, account)
    script.write_text("<?php good();")
    assert (await back.way(account)).met == (Condition.SCRIPT,)


async def test_whom_a_person_trusts_is_not_on_probation():
    """And a plan's or person's tighter limit stays."""
    house = House()
    await by_machine(house)
    await house.set(Standing.TRUSTED)
    await house.work()
    assert not house.panel.shut
    assert await recipients_a_day(house) == []
    await by_machine(house)
    override = limits.Override("recipients", "day", 7)
    await house.pipeline.set_limit(JOE, override, who="ann", reason="", now=house.now)
    await house.set(None)
    await house.work()
    assert await recipients_a_day(house) == [7]
