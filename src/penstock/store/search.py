"""What all backends agree on: searches as SQL that SQLite and PostgreSQL both take, and which example is taken."""

from __future__ import annotations

from typing import Any

from penstock.examples import Example
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
