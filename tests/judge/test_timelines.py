"""Timelines: what a customer, or whoever has his password, does over time, and what must come of it.

The case files in tests/cases/timelines are written for operators to read and argue about; the README there says what
their words mean.
"""

import heapq
import tomllib
from itertools import count
from pathlib import Path

import pytest
from life import HOME, Life
from msgspec.structs import replace

from penstock.judge.history import tag
from penstock.model import Action, Kind, Standing

CASES = Path(__file__).parents[1] / "cases" / "timelines"
READS = {"harmless": -2.0, "like anything": 0.0, "like an advertisement": 1.5, "like abuse": 5.0}
"""The content model's log-odds."""
TRIES_AFTER_S = (300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
STANDINGS = [Standing.TRUSTED, Standing.NORMAL, Standing.NEW, Standing.POOR, Standing.SUSPENDED]
ACTIONS = [Action.ACCEPT, Action.THROTTLE, Action.HOLD, Action.REJECT]
STEP = set(
    "days what at waits_h messages every_s recipients to reads text from program kind links files blind "
    "unknown complaints event expect".split()
)
EXPECT = set("standing worst_standing worst_action left_at_most left_at_least late reasons".split())


class Part:
    """One step of a timeline and what came of it."""

    def __init__(self, life: Life, step: dict) -> None:
        assert set(step) <= STEP, f"unknown words: {set(step) - STEP}"
        self.life, self.step = life, step
        self.found = []
        self.standings = []
        self.left = self.late = 0

    def play(self) -> None:
        """Let it happen: wait, what comes back or is done besides sending, then the messages."""
        life, step = self.life, self.step
        life.now += 3600.0 * step.get("waits_h", 0.0)
        if "at" in step:
            life.until(step["at"])
        for what in [step["event"]] if "event" in step else ["complaint"] * step.get("complaints", 0):
            source = "" if what == "password-changed" else step.get("from", HOME)
            self.standings.append(life.event(what, source=source).standing)
        for message in life.letters(step.get("days", 0)):
            self.note(life.judge(message), message, 0.0)
        self.send(step.get("messages", 0), step.get("every_s", 1.0))

    def send(self, messages: int, every_s: float) -> None:
        """One after the other; what is throttled is tried again as mail servers do, and some receivers know nobody."""
        life, order, began = self.life, count(), self.life.now
        queue = [(began + number * every_s, next(order), None, 0) for number in range(messages)]
        while queue:
            life.now, _, first, tries = heapq.heappop(queue)
            first = first or self.message()
            message = replace(first, now=life.now)
            found = life.judge(message)
            if found.wanted is Action.THROTTLE and tries < len(TRIES_AFTER_S):
                heapq.heappush(queue, (first.now + TRIES_AFTER_S[tries], next(order), first, tries + 1))
            self.note(found, message, life.now - first.now)
            if found.wanted is Action.ACCEPT and life.rng.random() < self.step.get("unknown", 0.0):
                self.standings.append(
                    life.event("bounced", source=message.source, recipient=message.recipients[0]).standing
                )

    def message(self):
        """The next message of this step."""
        life, step = self.life, self.step
        number, to = step.get("recipients", 1), step.get("to", "strangers")
        match to:
            case "strangers":
                recipients = life.strangers(number)
            case "contacts":
                at = self.turn = getattr(self, "turn", 0) + number
                recipients = [life.contacts[one % len(life.contacts)] for one in range(at - number, at)]
            case "readers":
                life.readers = getattr(life, "readers", []) or life.strangers(step["messages"])
                at = self.turn = getattr(self, "turn", 0) + 1
                recipients = [life.readers[at - 1]]
            case _:
                recipients = [to]
        source = step.get("from", HOME)
        if source == "everywhere":
            source = f"198.18.{life.rng.randrange(200)}.0/24"
        more = {"client": step["program"]} if "program" in step else {}
        return life.message(
            recipients,
            READS[step.get("reads", "harmless")],
            source=source,
            text=None if step.get("text", "one") == "each its own" else tag(step["what"]),
            kind=Kind(step.get("kind", "normal")),
            mail_from="" if step.get("kind") == "automatic" else "joe@example.com",
            links=tuple(step.get("links", ())),
            parts=tuple(step.get("files", ())),
            blind=number if step.get("blind") else 0,
            **more,
        )

    def note(self, found, message, waited_s: float) -> None:
        """Write down what a message came to."""
        self.found.append(found)
        self.standings.append(found.standing)
        if found.wanted is Action.ACCEPT:
            self.left += 1
            self.late += waited_s > 900.0

    def reasons(self) -> list[str]:
        """The three strongest named causes where the step was first stopped, or else where the evidence was highest."""
        stopped = [one for one in self.found if ACTIONS.index(one.wanted) >= ACTIONS.index(Action.HOLD)]
        one = stopped[0] if stopped else max(self.found, key=lambda one: one.score)
        causes = [term for term in one.evidence if term.nats > 0 and term.name not in ("carried", "models")]
        return [term.name for term in sorted(causes, key=lambda term: -term.nats)][:3]

    def check(self) -> None:
        """Hold what came of it against what the case says."""
        expect = self.step.get("expect", {})
        assert set(expect) <= EXPECT, f"unknown words: {set(expect) - EXPECT}"
        where = f"after '{self.step.get('what', 'letters')}'"
        worst = max(self.standings, key=STANDINGS.index)
        action = max((one.wanted for one in self.found), key=ACTIONS.index, default=Action.ACCEPT)
        if "standing" in expect:
            assert self.standings[-1] == expect["standing"], where
        if "worst_standing" in expect:
            assert STANDINGS.index(worst) <= STANDINGS.index(expect["worst_standing"]), f"{where}: {worst}"
        if "worst_action" in expect:
            assert ACTIONS.index(action) <= ACTIONS.index(expect["worst_action"]), f"{where}: {action}"
        assert self.left <= expect.get("left_at_most", 10**9), where
        assert self.left >= expect.get("left_at_least", 0), where
        assert self.late <= expect.get("late", 10**9), where
        if "reasons" in expect:
            assert set(expect["reasons"]) <= set(self.reasons()), f"{where}: {self.reasons()}"


@pytest.mark.parametrize("path", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_what_must_come_of_a_timeline_comes_of_it(path):
    """Standings, actions, leaks, delays and the named causes of one story, and a record that stays small."""
    case = tomllib.loads(path.read_text())
    life = Life(account=case.get("account", "sasl:joe@example.com"), contacts=case.get("contacts", 60))
    for step in case["step"]:
        part = Part(life, step)
        part.play()
        part.check()

    assert case["title"]
    assert case["story"]
    assert len(life.account or b"") <= 2048


def test_every_story_that_the_design_names_is_told():
    """A timeline that is lost is noticed."""
    names = {path.stem[3:] for path in CASES.glob("*.toml")}

    assert names >= {
        "good-customers-year",
        "stolen-password",
        "newsletter",
        "christmas-card",
        "forwarder",
        "job-change",
        "contact-phishing",
        "contact-form",
        "order-robot",
    }
