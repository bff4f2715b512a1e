"""The contract about people: who they are, the keys in their names, and what is counted for them."""

import asyncio

from msgspec.structs import replace
from test_contract import T0, backend, decision, store  # noqa: F401  # the fixtures of the contract

from penstock.model import AccountRow, Action, Audit, Held, Standing
from penstock.people import Grain, Key, Person, Role, TallySearch
from penstock.store.ports import HeldMessage, Records

ANN = Person("ann", Role.ADMIN, "$argon2id$…", added_at=T0)
BOB = Person("bob", Role.READ, "$argon2id$…", tenant="example.com")
SAID = Audit(T0, "ann", "add-person", "bob")
SESSION = Key("d1", "session", "ann", Role.ADMIN, T0, T0 + 60)
TOKEN = Key("d2", "token", "ann", Role.READ, T0 + 1, label="graphs")


async def test_people_are_kept_by_name_with_an_audit_entry(store):  # noqa: F811
    """The last word about a person counts; removal takes all keys along and happens once."""
    await store.keep_person(BOB, SAID)
    await store.keep_person(ANN, replace(SAID, target="ann"))
    await store.keep_person(replace(BOB, role=Role.DESK), SAID)
    await store.keep_key(replace(SESSION, person="bob"), SAID)

    assert await store.people() == [ANN, replace(BOB, role=Role.DESK)]
    assert await store.person("nobody") is None
    assert await store.remove_person("bob", SAID) is True
    assert await store.remove_person("bob", SAID) is False
    assert await store.key("d1") is None
    assert len(await store.audit(target="bob")) == 4


async def test_a_person_is_changed_in_one_step(store):  # noqa: F811
    """Changes that meet are all kept, one that is called off leaves nothing, and nobody comes back by a change."""
    await store.keep_person(ANN, SAID)
    said = replace(SAID, target="ann")

    def longer(person):
        return replace(person, tenant=person.tenant + "x")

    assert all(await asyncio.gather(*(store.change_person("ann", longer, said) for _ in range(8))))
    assert await store.person("ann") == replace(ANN, tenant="x" * 8)
    assert await store.change_person("ann", lambda person: None, said) is False
    assert await store.change_person("ann", longer, None) is True
    assert len(await store.audit(target="ann")) == 8
    await store.remove_person("ann", SAID)
    assert await store.change_person("ann", longer, said) is False
    assert await store.person("ann") is None


async def test_keys_are_found_by_digest_and_ended(store):  # noqa: F811
    """By one, by person, and by time; a token without an end stays."""
    for key in (SESSION, TOKEN):
        await store.keep_key(key, SAID)

    assert await store.key("d1") == SESSION
    assert await store.keys(kind="token") == [TOKEN]
    assert await store.keys(kind="session", person="bob") == []
    assert await store.expire_keys(T0 + 59) == 0
    assert await store.expire_keys(T0 + 60) == 1
    assert await store.drop_keys(person="ann", kind="session", audit=SAID) == 0
    assert await store.drop_keys(digest="d2", audit=SAID) == 1
    assert await store.key("d2") is None


async def test_decisions_are_counted_once_by_day_and_minutes(store):  # noqa: F811
    """Plain accepts by tenant, anything else by account; what comes later is added."""
    rows = [decision(number, at=T0 + number * 400) for number in range(4)]
    held = replace(rows[3], decision=replace(rows[3].decision, wanted=Action.HOLD, reason="PS-ACCOUNT"))
    await store.update((), lambda: Records(decisions=(*rows[:3], held)))

    assert await store.tally(before_id=held.decision.id) == 3
    assert await store.tally(before_id="z", limit=1) == 1
    assert await store.tally(before_id="z") == 0
    days = await store.tallies(TallySearch(Grain.DAYS))
    assert sum(one.messages for one in days) == 4
    assert [one.account for one in await store.tallies(TallySearch(Grain.TENANT_DAYS, acted_only=True))] == [
        "sasl:joe@example.com"
    ]
    (most,) = await store.tallies(TallySearch(Grain.TENANT_DAYS, acted_only=True, by_account=True))
    assert (most.account, most.wanted, most.messages) == ("sasl:joe@example.com", "hold", 1)
    minutes = await store.tallies(TallySearch(Grain.MINUTES))
    assert [one.start for one in minutes] == [(T0 + n * 400) // 300 * 300 for n in range(4)]
    assert minutes[-1].wanted == "hold"
    assert minutes[0].recipients == len(rows[0].rcpt_to)
    assert await store.tallies(TallySearch(Grain.TENANT_DAYS, tenant="other.example")) == []
    assert await store.tallies(TallySearch(Grain.MINUTES, limit=1)) == minutes[-1:]


async def test_counts_go_when_their_time_is_over(store):  # noqa: F811
    """Each grain at its own; decisions that were counted are not counted again."""
    rows = [decision(number, at=T0 + number * 400) for number in range(1300)]
    await store.update((), lambda: Records(decisions=tuple(rows)))
    assert await store.tally(before_id="z") == 1300
    days, minutes = await store.tallies(TallySearch(Grain.DAYS)), await store.tallies(TallySearch(Grain.MINUTES))
    gone = [one for one in minutes if one.start < minutes[-1].start]
    assert len(gone) > 1000, "more than one step deletes"

    assert await store.expire_tallies({Grain.MINUTES: minutes[-1].start, Grain.DAYS: days[1].start}) == len(gone) + 1
    assert await store.expire_tallies({Grain.MINUTES: minutes[-1].start, Grain.DAYS: days[1].start}) == 0
    assert await store.tallies(TallySearch(Grain.MINUTES)) == minutes[-1:]
    assert await store.tallies(TallySearch(Grain.DAYS)) == days[1:]
    assert len(await store.tallies(TallySearch(Grain.TENANT_DAYS))) == len(days)
    assert await store.tally(before_id="z") == 0


async def test_accounts_are_counted_by_standing_and_held_mail_is_found_by_tenant(store):  # noqa: F811
    """Of everybody, and of one tenant."""
    names = (("sasl:a@x.example", "x.example", Standing.NEW), ("sasl:b@y.example", "y.example", Standing.SUSPENDED))
    rows = tuple(AccountRow(name, tenant, standing, 0.0, T0, 1, 1) for name, tenant, standing in names)
    held = tuple(
        HeldMessage(Held(f"h{n}", f"h{n}", name, T0, "", (), 1, "PS-ACCOUNT"), b"x")
        for n, (name, _, _) in enumerate(names)
    )
    await store.update((), lambda: Records(accounts=rows, held=held))

    assert dict(await store.standings()) == {"new": 1, "suspended": 1}
    assert dict(await store.standings("x.example")) == {"new": 1}
    assert [one.id for one in await store.held(tenant="x.example")] == ["h0"]
    assert await store.held(tenant="z.example") == []
