"""What only the many-node backend promises: servers that go, hang and come back, and nodes that meet."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_contract import JOE, account, audit, count, decision, held, keep, nothing, put
from valkey.crc import key_slot

from penstock.model import Standing
from penstock.store.ports import DecisionSearch, Records, StoreUnavailable, Turn, Write
from penstock.store.postgres import fit
from penstock.store.scale import ScaleStore
from penstock.store.valkey_state import place_of, tag_of

DATABASE = 7


@pytest.fixture
async def place(redis, postgres):
    redis.say("FLUSHALL")
    yield redis.url(DATABASE), postgres.fresh()
    for server in (redis, postgres):
        if server.process is None:
            server.start()
        server.resume()


@pytest.fixture
async def store(place):
    one = ScaleStore(*place)
    await one.open()
    yield one
    await one.close()


async def until(ask, seconds=6.0):
    """The answer, once there is one; how long that took."""
    began = time.monotonic()
    while True:
        try:
            return await ask(), time.monotonic() - began
        except StoreUnavailable:
            assert time.monotonic() - began < seconds
            await asyncio.sleep(0.05)


def plain(*rows):
    return lambda: Records(decisions=rows, must_be_durable=False)


# Names.


@given(st.text(), st.text())
def test_all_keys_of_an_account_lie_in_one_slot(name, source):
    """The cluster's own arithmetic agrees, whatever an account and a source are called."""
    keys = (f"a:x{name}", f"l:x{name}", f"s:x{name}|{source}")
    encoded = [place_of(key).encode("utf-8", "surrogatepass") for key in keys]

    assert len({tag_of(key) for key in keys}) == 1
    assert len({key_slot(one) for one in encoded}) == 1


@given(st.text(), st.text(), st.sampled_from("aslct"), st.sampled_from("aslct"))
def test_two_keys_never_lie_in_one_place(one, two, kind, other):
    """No name can be made that reads or writes another's state."""
    first, second = f"{kind}:{one}", f"{other}:{two}"

    assert (place_of(first) == place_of(second)) == (first == second)


@given(st.text(max_size=2000))
def test_any_text_fits_a_column(text):
    """Without NUL, short enough for an index, and the same each time."""
    text = text.encode("utf-8", "replace").decode()

    assert "\0" not in fit(text) and len(fit(text).encode()) < 2000
    assert fit(text) == text or len(text) > 400 or "\0" in text


# Turns.


async def test_a_step_runs_again_when_another_node_was_faster(place):
    """The swap sees that the value is not the one that was judged; the second run sees the new one."""
    ours, theirs = ScaleStore(*place), ScaleStore(*place)
    await ours.open()
    await theirs.open()
    client = theirs._state._client
    seen = []

    def step(state):
        seen.append(state[JOE])
        if len(seen) == 1:
            # From outside and in between, as another node would.
            asyncio.get_running_loop().create_task(client.set(place_of(JOE), b"12345678" + b"\x7f" * 8 + b"theirs"))
        return {JOE: Write(b"ours", 60.0)}

    async def slow(*command, real=ours._state._ask):
        if command[0] == "EVALSHA":
            await asyncio.sleep(0.05)
        return await real(*command)

    ours._state._ask = slow
    await ours.update((Turn(JOE, (JOE,), step),), nothing)

    assert len(seen) == 2 and seen[0] is None
    assert await theirs.read((JOE,)) == {JOE: b"ours"}
    await ours.close()
    await theirs.close()


async def test_a_server_that_forgets_the_script_is_told_again(store, redis):
    """SCRIPT FLUSH and restarts lose it."""
    await store.update((count(JOE),), nothing)
    redis.say("SCRIPT FLUSH")
    await store.update((count(JOE),), nothing)

    assert await store.read((JOE,)) == {JOE: b"2"}


async def test_the_server_forgets_what_has_lapsed(store, redis):
    """A lifetime is set on the server too, so that memory does not grow."""
    await store.update((put(b"x", JOE, keep_s=0.1), put(b"y", "c:text:1", keep_s=100.0)), nothing)
    await asyncio.sleep(0.3)

    assert await store._state._client.keys("*") == [place_of("c:text:1").encode()]


async def test_two_hundred_updates_at_once_are_all_done(store):
    """More than there are connections: they wait for their turn."""
    await asyncio.gather(*(store.update((count(f"a:sasl:{one % 100}"),), plain(decision(one))) for one in range(200)))

    assert len(await store.decisions(DecisionSearch(limit=500))) == 200
    assert set((await store.read([f"a:sasl:{one}" for one in range(100)])).values()) == {b"2"}


# Records.


async def test_a_late_plain_accept_does_not_undo_a_suspension(place):
    """A row that was judged earlier and is written later, by another node, leaves what was done meanwhile."""
    ours, theirs = ScaleStore(*place), ScaleStore(*place)
    await ours.open()
    await theirs.open()
    suspended = account("sasl:joe", seen_at=2.0, standing=Standing.SUSPENDED)
    await keep(theirs, accounts=(account("sasl:joe", seen_at=1.0),), must_be_durable=False)
    await keep(ours, accounts=(suspended,))
    await asyncio.sleep(0.2)

    assert await ours.account("sasl:joe") == await theirs.account("sasl:joe") == suspended
    await ours.close()
    await theirs.close()


async def test_a_record_that_cannot_be_encoded_is_its_callers_trouble_alone(store):
    """Neighbours in the same batch are kept."""
    broken = decision(1, queue_id="\udc80")
    with pytest.raises(UnicodeEncodeError):
        await store.update((), plain(broken))
    await store.update((), plain(decision(2)))

    assert await store.decisions(DecisionSearch()) == [decision(2)]


async def test_a_record_that_postgresql_refuses_costs_no_other(store, postgres, place):
    """The batch is taken apart; what was refused is refused to who asked for it."""
    await asyncio.sleep(0)
    schema = place[1].rpartition("%3D")[2]
    postgres.sql(f"ALTER TABLE {schema}.audit ADD CHECK (target <> 'bad')")
    results = await asyncio.gather(
        keep(store, audit=(audit(1),)),
        keep(store, audit=(audit(2, "bad"),)),
        store.update((), plain(decision(3))),
        return_exceptions=True,
    )

    assert [type(one) for one in results] == [type(None), results[1].__class__, type(None)]
    assert isinstance(results[1], StoreUnavailable)
    assert await store.audit() == [audit(1)] and len(await store.decisions(DecisionSearch())) == 1


async def test_a_schema_from_the_future_is_left_alone(store, place, postgres):
    """An older Penstock does not write into what it does not know."""
    schema = place[1].rpartition("%3D")[2]
    postgres.sql(f"INSERT INTO {schema}.penstock_schema (number) VALUES (999)")
    with pytest.raises(StoreUnavailable, match="newer"):
        await ScaleStore(*place).open()

    assert await store.audit() == []


# Servers that go and come back.


@pytest.mark.parametrize("which", ["redis", "postgres"])
async def test_opening_without_a_server_says_so(place, request, which):
    """Within the bound, with nothing left open."""
    request.getfixturevalue(which).stop()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await ScaleStore(*place).open()

    assert time.monotonic() - began < 3.0


async def test_a_connection_string_that_is_none_is_told(place):
    """An operator's slip is a clear error."""
    with pytest.raises(StoreUnavailable, match="PostgreSQL"):
        await ScaleStore(place[0], "postgresql://%zz").open()
    with pytest.raises(StoreUnavailable, match="Valkey"):
        await ScaleStore("http://127.0.0.1", place[1]).open()


@pytest.mark.parametrize("how", ["stop", "freeze"])
async def test_valkey_goes_and_comes_back(store, redis, how):
    """Each call ends within two seconds; afterwards all works without anybody's help."""
    await store.update((count(JOE),), nothing)
    getattr(redis, how)()
    began = time.monotonic()
    results = await asyncio.gather(
        store.read((JOE,)), *(store.update((count(JOE),), nothing) for _ in range(20)), return_exceptions=True
    )
    took = time.monotonic() - began
    redis.start() if how == "stop" else redis.resume()

    assert {type(one) for one in results} == {StoreUnavailable} and took < 3.0
    _, waited = await until(lambda: store.update((count(JOE),), nothing))
    assert waited < 1.0
    assert int((await store.read((JOE,)))[JOE]) >= 1


@pytest.mark.parametrize("how", ["stop", "freeze"])
async def test_postgresql_goes_and_comes_back(store, postgres, how):
    """Who must be durable is told at once, what nobody waits for is kept and written when it is back."""
    await keep(store, audit=(audit(1),))
    getattr(postgres, how)()
    began = time.monotonic()
    await store.update((), plain(decision(1)))
    results = await asyncio.gather(
        keep(store, audit=(audit(2),)),
        keep(store, held=(held(2),)),
        store.audit(),
        store.claim_held("x", now=1.0, lease_s=1.0),
        return_exceptions=True,
    )
    took = time.monotonic() - began
    with pytest.raises(StoreUnavailable):
        await store.update((count(JOE),), plain(decision(2)))
    assert await store.read((JOE,)) == {JOE: None}, "nothing is counted for what cannot be kept"
    postgres.start() if how == "stop" else postgres.resume()

    assert {type(one) for one in results} == {StoreUnavailable} and took < 3.0
    rows, waited = await until(lambda: store.decisions(DecisionSearch()))
    assert rows == [decision(1)] and waited < 4.0
    await keep(store, audit=(audit(3),))


async def test_postgresql_restarted_unnoticed_costs_nothing(store, postgres):
    """Connections that died in between are found out before they are used."""
    await keep(store, audit=(audit(1),))
    postgres.stop()
    postgres.start()
    await keep(store, audit=(audit(2),))

    assert await store.audit() == [audit(2), audit(1)]


async def test_closing_without_postgresql_says_what_is_lost(place, postgres):
    """Never in silence, and never for ever."""
    store = ScaleStore(*place)
    await store.open()
    postgres.stop()
    await store.update((), plain(decision(1)))
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="lost"):
        await store.close()

    assert time.monotonic() - began < 5.0
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.read((JOE,))


async def test_a_caller_that_goes_away_leaves_the_store_whole(store):
    """Cancelling at any moment mixes up no answers."""
    for wait_ms in range(12):
        tasks = [asyncio.create_task(store.update((count(JOE),), plain(decision(one)))) for one in range(10)]
        tasks += [asyncio.create_task(store.audit()) for _ in range(5)]
        await asyncio.sleep(wait_ms / 1000)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    before = int((await store.read((JOE,)))[JOE] or 0)
    await store.update((count(JOE),), nothing)

    assert await store.read((JOE,)) == {JOE: b"%d" % (before + 1)}
    assert await store.audit() == []
