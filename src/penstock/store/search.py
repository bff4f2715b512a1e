"""What all backends agree on: searches as SQL that SQLite and PostgreSQL both take, and which example is taken."""

from __future__ import annotations

from typing import Any

from penstock.examples import Example
from penstock.model import make_id
from penstock.people import Grain, TallySearch
from penstock.store.ports import AccountSearch, DecisionSearch, ExampleSearch

_LATEST_S = 3600.0
"""A decision's id is made when its message begins to come in, at most so long before it is dated."""


def decisions_sql(search: DecisionSearch, row: str, mark: str, join: str) -> tuple[str, list[Any]]:
    """The question after decisions, newest first, and its values; `row` is the column of the packed row, `mark` how the
    driver writes a parameter, `join` how the backend is told to begin at the first of two tables.

    What was sent to a recipient, or by an IP, stands in tables of their own in the order of ids: they lead, so that a
    page of it takes a few steps, however much there is.
    """
    conditions, values, source, id = ["1 = 1"], list[Any](), "decisions", "decisions.id"
    for table, name, value in (("recipients", "rcpt", search.rcpt_to), ("sent", "ip", search.ip)):
        if value and source == "decisions":
            source, id = f"{table} {join} decisions ON decisions.id = {table}.id", f"{table}.id"
            conditions.append(f"{table}.{name} = {mark}")
            values.append(value)
        elif value:
            conditions.append(f"decisions.id IN (SELECT id FROM {table} WHERE {name} = {mark})")  # noqa: S608
            values.append(value)
    for column in ("account", "tenant", "reason", "queue_id", "message_id", "mail_from"):
        if getattr(search, column):
            conditions.append(f"{column} = {mark}")
            values.append(getattr(search, column))
            if column.endswith("_id") or column == "reason":
                conditions.append(f"{column} <> ''")  # lets the partial index serve
    if search.action == "accept":
        conditions.append(f"(action = {mark} OR wanted = {mark})")
        values += [search.action, search.action]
    elif search.action:
        conditions.append(f"wanted = {mark}")
        values.append(search.action)
        if not (search.account or search.mail_from or search.rcpt_to or search.ip):
            # The words of the indexes by what was wanted; whoever asks for one account is better off with its own.
            conditions.append("(wanted <> 'accept' OR action <> 'accept')")
    for bound, operator, column in ((search.since, ">=", "at"), (search.until, "<", "at"), (search.before, "<", id)):
        if bound:
            conditions.append(f"{column} {operator} {mark}")
            values.append(bound)
    if search.since > _LATEST_S:
        # Ids sort by time, and every index ends with them: what is older is not even looked at.
        conditions.append(f"{id} >= {mark}")
        values.append(make_id(search.since - _LATEST_S, 0))
    where = " AND ".join(conditions)
    sql = f"SELECT {row} FROM {source} WHERE {where} ORDER BY {id} DESC LIMIT {mark}"  # noqa: S608
    return sql, [*values, search.limit]


ACCOUNT_ORDERS = {
    "evidence": ("evidence", "DESC", "<"),
    "seen": ("seen_at", "DESC", "<"),
    "account": ("account", "ASC", ">"),
}


def accounts_sql(search: AccountSearch, row: str, mark: str, like: str) -> tuple[str, list[Any]]:
    """The question after accounts, and its values; `row` is the column of the packed row, `like` ignores case.

    A part of a name is looked for in an index, which has the names in their order, and the rows are read afterwards.
    """
    column, direction, beyond = ACCOUNT_ORDERS[search.order]
    conditions, values = ["1 = 1"], list[Any]()
    if search.text:
        conditions.append(f"account {like} {mark} ESCAPE '!'")
        escaped = "".join(f"!{sign}" if sign in "!%_" else sign for sign in search.text)
        values.append(f"%{escaped}%")
    for name, value in (("standing", search.standing), ("tenant", search.tenant)):
        if value:
            conditions.append(f"{name} = {mark}")
            values.append(value)
    if search.after is not None:
        conditions.append(f"({column} {beyond} {mark} OR ({column} = {mark} AND account > {mark}))")
        values += [search.after[0], search.after[0], search.after[1]]
        if column != "account":
            conditions.append(f"{column} {beyond}= {mark}")  # where the index begins
            values.append(search.after[0])
    order = f"ORDER BY {column} {direction}, account"
    found = f"SELECT account FROM accounts WHERE {' AND '.join(conditions)} {order} LIMIT {mark}"  # noqa: S608
    return f"SELECT {row} FROM accounts WHERE account IN ({found}) {order}", [*values, search.limit]  # noqa: S608


def events_sql(account: str, before: tuple[float, str] | None, row: str, mark: str) -> tuple[str, list[Any]]:
    """The question after an account's events, without its limit, and its values."""
    beyond = f" AND (at, key) < ({mark}, {mark})" if before is not None else ""
    sql = f"SELECT {row} FROM events WHERE account = {mark}{beyond} ORDER BY at DESC, key DESC"  # noqa: S608
    return sql, [account, *(before or ())]


def held_conditions(account: str, tenant: str, state: str, before: str, mark: str) -> tuple[str, list[Any]]:
    """The WHERE of a search over `held`, and its values."""
    conditions, values = ["1 = 1"], list[Any]()
    of_tenant = f"account IN (SELECT account FROM accounts WHERE tenant = {mark})"  # noqa: S608
    parts = ((f"account = {mark}", account), (of_tenant, tenant), (f"state = {mark}", state), (f"id < {mark}", before))
    for condition, value in parts:
        if value:
            conditions.append(condition)
            values.append(value)
    return " AND ".join(conditions), values


def example_conditions(search: ExampleSearch, mark: str) -> tuple[str, list[Any]]:
    """The WHERE of a search over `examples`, and its values."""
    conditions, values = ["1 = 1"], list[Any]()
    if not search.with_undone:
        conditions.append("undone_at = 0")
    if search.ids:
        conditions.append(f"id IN ({', '.join(mark for _ in search.ids)})")
        values += search.ids
    for column in ("account", "tenant", "who"):
        if getattr(search, column):
            conditions.append(f"{column} = {mark}")
            values.append(getattr(search, column))
    for bound, operator, column in ((search.since, ">=", "at"), (search.before, "<", "id")):
        if bound:
            conditions.append(f"{column} {operator} {mark}")
            values.append(bound)
    return " AND ".join(conditions), values


def is_taken(known: Example | None, one: Example) -> bool:
    """Whether an example is news beside the one of the same digest that is known."""
    return known is None or known.is_abuse != one.is_abuse or known.weight < one.weight


TALLIED = "tallied"
"""The small value that says up to which decision's id was counted."""
NEXT_TALLIED = (
    "SELECT max(id), count(*) FROM "
    "(SELECT id FROM decisions WHERE id > {mark} AND id < {mark} ORDER BY id LIMIT {mark}) AS next"
)
_TALLY_KEY = "(grain, start, tenant, account, action, wanted, reason)"
_ADD = (
    f" ON CONFLICT {_TALLY_KEY} DO UPDATE SET "
    "messages = tallies.messages + excluded.messages, recipients = tallies.recipients + excluded.recipients"
)
_IS_ACTED = "(wanted <> 'accept' OR action <> 'accept')"
_KINDS = (
    (Grain.MINUTES, "''", "''"),
    (Grain.DAYS, "''", "''"),
    (Grain.TENANT_DAYS, "tenant", f"CASE WHEN {_IS_ACTED} THEN account ELSE '' END"),
)
COUNT = tuple(
    f"INSERT INTO tallies SELECT '{grain}', start, tenant, account, action, wanted, reason, "  # noqa: S608
    f"count(*), sum(rcpts) FROM (SELECT {{second}} / {grain.seconds} * {grain.seconds} AS start, "
    f"{tenant} AS tenant, {account} AS account, action, wanted, reason, "
    "(SELECT count(*) FROM recipients WHERE recipients.id = decisions.id) AS rcpts "
    "FROM decisions WHERE id > {mark} AND id <= {mark}) AS counted "
    "GROUP BY start, tenant, account, action, wanted, reason" + _ADD
    for grain, tenant, account in _KINDS
)
"""Statements that count the decisions between two ids; `second` is how the backend rounds `at` down."""

EXPIRE_TALLIES = (
    f"DELETE FROM tallies WHERE {_TALLY_KEY} IN (SELECT {_TALLY_KEY[1:-1]} FROM tallies "  # noqa: S608
    "WHERE grain = {mark} AND start < {mark} LIMIT {mark})"
)
"""Deletes some counts that are past their time, in the order of the index that they stand in."""
EXPIRED_AT_ONCE = 500
"""So many in one step, so that mail finds its way in between."""


def tallies_sql(search: TallySearch, mark: str) -> tuple[str, list[Any]]:
    """The question after counts, and its values."""
    where, values = _tally_conditions(search, mark)
    columns, end = "start, tenant, account, action, wanted, reason, messages, recipients", "ORDER BY start DESC"
    if search.by_account:
        columns = "0, tenant, account, '', wanted, '', sum(messages) AS total, sum(recipients)"
        end = "GROUP BY tenant, account, wanted ORDER BY total DESC, account"
    return f"SELECT {columns} FROM tallies WHERE {where} {end} LIMIT {mark}", [*values, search.limit]  # noqa: S608


def _tally_conditions(search: TallySearch, mark: str) -> tuple[str, list[Any]]:
    """The WHERE of a search over `tallies`, and its values."""
    conditions, values = [f"grain = {mark}"], list[Any]((search.grain.value,))
    for bound, operator in ((search.since, ">="), (search.until, "<")):
        if bound:
            conditions.append(f"start {operator} {mark}")
            values.append(int(bound))
    if search.tenant:
        conditions.append(f"tenant = {mark}")
        values.append(search.tenant)
    if search.acted_only:
        conditions.append("account <> ''")
    return " AND ".join(conditions), values
