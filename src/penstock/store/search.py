"""What all backends agree on: searches as SQL that SQLite and PostgreSQL both take, and which example is taken."""

from __future__ import annotations

from typing import Any

from penstock.examples import Example
from penstock.people import Grain, TallySearch
from penstock.store.ports import DecisionSearch, ExampleSearch


def decision_conditions(search: DecisionSearch, mark: str) -> tuple[str, list[Any]]:
    """The WHERE of a search over `decisions`, and its values; `mark` is how the driver writes a parameter."""
    conditions, values = ["1 = 1"], list[Any]()
    for column in ("account", "tenant", "reason", "queue_id", "message_id", "mail_from"):
        if getattr(search, column):
            conditions.append(f"{column} = {mark}")
            values.append(getattr(search, column))
            if column.endswith("_id"):
                conditions.append(f"{column} <> ''")  # lets the partial index serve
    if search.action:
        conditions.append(f"(action = {mark} OR wanted = {mark})")
        values += [search.action, search.action]
        if search.action != "accept":
            conditions.append("(wanted <> 'accept' OR action <> 'accept')")
    if search.rcpt_to:
        conditions.append(f"id IN (SELECT id FROM recipients WHERE rcpt = {mark})")  # noqa: S608
        values.append(search.rcpt_to)
    if search.ip:
        conditions.append(f"id IN (SELECT id FROM sent WHERE ip = {mark})")  # noqa: S608
        values.append(search.ip)
    for bound, operator, column in ((search.since, ">=", "at"), (search.until, "<", "at"), (search.before, "<", "id")):
        if bound:
            conditions.append(f"{column} {operator} {mark}")
            values.append(bound)
    return " AND ".join(conditions), values


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
_ADD = (
    " ON CONFLICT (grain, start, tenant, account, action, wanted, reason) DO UPDATE SET "
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
