"""The contract about pools: states of IPs, pins and cases are kept whole, and decisions are found by their IP."""

from msgspec.structs import replace
from test_contract import T0, backend, decision, store  # noqa: F401  # the fixtures of the contract

from penstock.model import Audit
from penstock.sending import Case, IpState, Pin, Suspect
from penstock.store.ports import DecisionSearch, PoolRecords, PoolState, Records

DRAINED = IpState("192.0.2.7", "normal", "drained", T0, reason="on spamhaus-zen")
PIN = Pin("sasl:joe@example.com", "risk", T0, "ann", reason="phone call")
CASE = Case("c1", "192.0.2.7", "normal", T0, T0 - 60, ("zen",), (Suspect("sasl:joe@example.com", 0.8, 3, 9),))


async def test_states_and_pins_are_replaced_and_taken_back(store):  # noqa: F811
    """The last word about an IP or an account counts; what was said is in the audit."""
    audit = Audit(T0, "ann", "pin-account", PIN.account, PIN.reason)
    await store.record_pools(PoolRecords((DRAINED,), (PIN, replace(PIN, account="sasl:a@b.example")), audit=(audit,)))
    await store.record_pools(PoolRecords((replace(DRAINED, state="active"),), unpinned=("sasl:a@b.example", "none")))

    assert await store.pool_state() == PoolState((replace(DRAINED, state="active"),), (PIN,))
    assert await store.audit(target=PIN.account) == [audit]


async def test_open_cases_are_told_from_closed_ones(store):  # noqa: F811
    """Newest first; a case that is closed is still found by its id."""
    later = replace(CASE, id="c2", ip="192.0.2.8")
    await store.record_pools(PoolRecords(cases=(CASE, later)))
    closed = replace(CASE, closed_at=T0 + 9, closed_by="penstock", reason="clean")
    await store.record_pools(PoolRecords(cases=(closed,)))

    assert await store.cases() == [later, closed]
    assert await store.cases(open_only=True) == [later]
    assert await store.cases(limit=1) == [later]
    assert await store.case("c1") == closed
    assert await store.case("c3") is None


async def test_decisions_are_found_by_their_ip(store):  # noqa: F811
    """One IP's, in a window, and no others; when they expire they are found no more."""
    rows = [decision(number, at=T0 + number) for number in range(4)]
    ips = ("192.0.2.7", "", "192.0.2.8", "192.0.2.7")
    rows = [replace(row, decision=replace(row.decision, ip=ip)) for row, ip in zip(rows, ips, strict=True)]
    await store.update((), lambda: Records(decisions=tuple(rows)))

    assert await store.decisions(DecisionSearch(ip="192.0.2.7")) == [rows[3], rows[0]]
    assert await store.decisions(DecisionSearch(ip="192.0.2.7", since=T0 + 1)) == [rows[3]]
    await store.expire(now=T0, decisions_before=T0 + 10)
    assert await store.decisions(DecisionSearch(ip="192.0.2.7")) == []
