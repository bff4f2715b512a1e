"""Searches as SQL that SQLite and PostgreSQL both take."""

from __future__ import annotations

from typing import Any

from penstock.store.ports import DecisionSearch


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
