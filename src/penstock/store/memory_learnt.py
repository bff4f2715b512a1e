"""What was learnt from people, while the process lasts."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from penstock.examples import Example, Lesson, Remembered
from penstock.model import Audit
from penstock.store.ports import ExampleSearch
from penstock.store.search import is_taken


class MemoryLearnt:
    """The part of the contract that is about examples."""

    def __init__(self) -> None:
        self._audit: list[Audit] = []
        self._lessons: list[Lesson] = []
        self._remembered: dict[str, Remembered] = {}
        self._learnt = (0, 0)

    async def learn(self, lessons: Sequence[Lesson], audit: Sequence[Audit]) -> list[str]:
        """Keep examples, each with its audit entry."""
        taken = []
        for lesson, entry in zip(lessons, audit, strict=True):
            one, (generation, number) = lesson.example, self._learnt
            known = next((e for e in self._current() if e.digest == one.digest), None)
            if not is_taken(known, one):
                continue
            if known is not None:
                self._undo(known.id, one.at)
                generation += 1
            self._learnt = (generation, number + 1)
            self._lessons.append(replace(lesson, number=number + 1))
            self._audit.append(entry)
            taken.append(one.id)
        return taken

    async def lessons(self, *, after: int, limit: int) -> list[Lesson]:
        """Examples that are not undone, in the order of learning."""
        return [one for one in self._lessons if one.number > after and not one.example.undone_at][:limit]

    async def learnt_version(self) -> tuple[int, int]:
        """(generation, number of the last example)."""
        return self._learnt

    async def examples(self, search: ExampleSearch) -> list[Example]:
        """Examples, newest first, one page."""
        rows = [one.example for one in self._lessons]
        found = [
            one
            for one in rows
            if (not search.ids or one.id in search.ids)
            and search.account in ("", one.account)
            and search.tenant in ("", one.tenant)
            and search.who in ("", one.who)
            and one.at >= search.since
            and (search.with_undone or not one.undone_at)
            and (not search.before or one.id < search.before)
        ]
        return sorted(found, key=lambda one: one.id, reverse=True)[: search.limit]

    async def undo_examples(self, ids: Sequence[str], *, at: float, audit: Sequence[Audit]) -> int:
        """Take examples back."""
        entries = dict(zip(ids, audit, strict=True))
        current = [one.id for one in self._current() if one.id in entries]
        for id in current:
            self._undo(id, at)
            self._audit.append(entries[id])
        self._learnt = (self._learnt[0] + bool(current), self._learnt[1])
        return len(current)

    async def remembered(self, decision_id: str) -> Remembered | None:
        """What could be learnt from a decision's message."""
        return self._remembered.get(decision_id)

    async def expire_learnt(self, *, examples_before: float, remembered_before: float) -> int:
        """Delete what is past its retention."""
        before = len(self._lessons) + len(self._remembered)
        kept = [one for one in self._lessons if one.example.at >= examples_before]
        self._learnt = (self._learnt[0] + (len(kept) < len(self._lessons)), self._learnt[1])
        self._lessons = kept
        self._remembered = {id: one for id, one in self._remembered.items() if one.at >= remembered_before}
        return before - len(self._lessons) - len(self._remembered)

    def _current(self) -> list[Example]:
        return [one.example for one in self._lessons if not one.example.undone_at]

    def _undo(self, id: str, at: float) -> None:
        self._lessons = [
            replace(one, example=replace(one.example, undone_at=at)) if one.example.id == id else one
            for one in self._lessons
        ]
