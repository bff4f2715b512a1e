"""People, their keys and counts of decisions, while the process lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from penstock.model import AccountRow, Action, Audit, DecisionRow
from penstock.people import Grain, Key, Person, Tally, TallySearch

_Place = tuple[str, float, str, str, str, str, str]


class MemoryPeople:
    """The part of the contract that is about people, and what is counted for them."""

    _audit: list[Audit]
    _accounts: dict[str, AccountRow]
    _decisions: dict[str, DecisionRow]
    _order: list[str]

    def __init__(self) -> None:
        self._people: dict[str, Person] = {}
        self._keys: dict[str, Key] = {}
        self._tallied = ""
        self._messages = Counter[_Place]()
        self._recipients = Counter[_Place]()

    async def people(self) -> list[Person]:
        """All people by name."""
        return [self._people[name] for name in sorted(self._people)]

    async def person(self, name: str) -> Person | None:
        """One person."""
        return self._people.get(name)

    async def keep_person(self, person: Person, audit: Audit) -> None:
        """Add or change a person."""
        self._people[person.name] = person
        self._audit.append(audit)

    async def change_person(self, name: str, change: Callable[[Person], Person | None], audit: Audit | None) -> bool:
        """Change a person in one step."""
        person = self._people.get(name)
        changed = change(person) if person is not None else None
        if changed is None:
            return False
        self._people[name] = changed
        self._audit += [audit] if audit is not None else []
        return True

    async def remove_person(self, name: str, audit: Audit) -> bool:
        """Remove a person with all keys."""
        if self._people.pop(name, None) is None:
            return False
        self._keys = {digest: one for digest, one in self._keys.items() if one.person != name}
        self._audit.append(audit)
        return True

    async def keys(self, *, kind: str, person: str = "") -> list[Key]:
        """Sessions or tokens, oldest first."""
        found = [one for one in self._keys.values() if one.kind == kind and person in ("", one.person)]
        return sorted(found, key=lambda one: (one.made_at, one.digest))

    async def key(self, digest: str) -> Key | None:
        """One key by its secret's digest."""
        return self._keys.get(digest)

    async def keep_key(self, key: Key, audit: Audit) -> None:
        """Keep a key."""
        self._keys[key.digest] = key
        self._audit.append(audit)

    async def drop_keys(self, *, audit: Audit, digest: str = "", person: str = "", kind: str = "") -> int:
        """End one key by digest, or a person's of one kind."""
        assert digest or person, "never all of everybody's"
        gone = [
            one.digest
            for one in self._keys.values()
            if digest in ("", one.digest) and person in ("", one.person) and kind in ("", one.kind)
        ]
        for each in gone:
            del self._keys[each]
        if gone:
            self._audit.append(audit)
        return len(gone)

    async def expire_keys(self, now: float) -> int:
        """Delete keys past their time."""
        gone = [digest for digest, one in self._keys.items() if 0 < one.until <= now]
        for digest in gone:
            del self._keys[digest]
        return len(gone)

    async def tally(self, *, before_id: str, limit: int = 5000) -> int:
        """Count decisions that were not counted yet, oldest first."""
        ids = [id for id in self._order if self._tallied < id < before_id][:limit]
        for id in ids:
            row = self._decisions[id]
            for place in _places(row):
                self._messages[place] += 1
                self._recipients[place] += len(set(row.rcpt_to))
        self._tallied = ids[-1] if ids else self._tallied
        return len(ids)

    async def tallies(self, search: TallySearch) -> list[Tally]:
        """Counts in the order of time."""
        found = [
            Tally(*place[1:], count, self._recipients[place])
            for place, count in sorted(self._messages.items())
            if place[0] == search.grain
            and place[1] >= search.since
            and (not search.until or place[1] < search.until)
            and search.tenant in ("", place[2])
            and (not search.acted_only or place[3])
        ]
        return _by_account(found)[: search.limit] if search.by_account else found[-search.limit :]

    async def expire_tallies(self, before: Mapping[Grain, float]) -> int:
        """Delete counts past their time."""
        gone = [place for place in self._messages if place[1] < before.get(Grain(place[0]), 0.0)]
        for place in gone:
            del self._messages[place], self._recipients[place]
        return len(gone)

    async def standings(self, tenant: str = "") -> Mapping[str, int]:
        """How many accounts have each standing."""
        rows = [row for row in self._accounts.values() if tenant in ("", row.tenant)]
        return Counter(row.standing.value for row in rows)


def _places(row: DecisionRow) -> list[_Place]:
    one = row.decision
    end = (one.action.value, one.wanted.value, one.reason)
    is_plain = one.action is one.wanted is Action.ACCEPT
    account = "" if is_plain else str(one.account)
    days, minutes = Grain.DAYS.seconds, Grain.MINUTES.seconds
    day = one.at // days * days
    return [
        (Grain.MINUTES, one.at // minutes * minutes, "", "", *end),
        (Grain.DAYS, day, "", "", *end),
        (Grain.TENANT_DAYS, day, one.account.tenant, account, *end),
    ]


def _by_account(found: list[Tally]) -> list[Tally]:
    groups = dict[tuple[str, str, str], list[Tally]]()
    for one in found:
        groups.setdefault((one.tenant, one.account, one.wanted), []).append(one)
    rows = [
        Tally(0.0, tenant, account, "", wanted, "", sum(o.messages for o in ones), sum(o.recipients for o in ones))
        for (tenant, account, wanted), ones in groups.items()
    ]
    return sorted(rows, key=lambda one: (-one.messages, one.account))
