"""A gate that answers what it is told to and remembers what it was asked."""

import asyncio
from collections import Counter

from penstock.attempts import Permission
from penstock.model import Account, Action, Admission, Decision, Kind, Reply, Standing, make_id

ACCOUNT = Account("sasl", "joe@example.com", "example.com")


def decision(submission, action=Action.ACCEPT, **more):
    given = {
        "id": submission.id, "at": submission.received_at, "account": ACCOUNT, "action": action, "wanted": action,
        "standing": Standing.NORMAL, "kind": Kind.NORMAL, "score": 0.5,
    } | more  # fmt: skip
    return Decision(**given)


class FakeGate:
    """`answer(submission)` makes the decision; `refusal` ends MAIL; a judging lasts `judge_s`."""

    may_refuse = True

    def __init__(self, answer=decision, refusal: Reply | None = None, judge_s: float = 0.0):
        self.answer, self.refusal, self.judge_s = answer, refusal, judge_s
        self.openings, self.submissions, self.told = [], [], []

    async def admit(self, opening):
        self.openings.append(opening)
        return Admission(self.refusal)

    async def judge(self, submission):
        self.submissions.append(submission)
        if self.judge_s:
            await asyncio.sleep(self.judge_s)
        return self.answer(submission)

    async def delivered(self, delivered):
        self.told.append(delivered)


class LoginGate(FakeGate):
    """Says what it is told to say of logins, and remembers what it was asked and told."""

    def __init__(self, permission=None, trouble=None):
        super().__init__()
        self.permission, self.trouble = permission or Permission(), trouble
        self.asked, self.counted = [], []

    async def may_log_in(self, attempt):
        self.asked.append(attempt)
        return self.permission

    async def logged_in(self, attempt):
        if self.trouble:
            raise self.trouble
        self.counted.append(attempt)


class Surroundings:
    """What a listener asks for besides its gate: counters, a clock that stands still, ids in order."""

    def __init__(self):
        self.counts = Counter()
        self._ids = iter(range(10**9))

    def count(self, name):
        self.counts[name] += 1

    def now(self):
        return 1_800_000_000.0

    def new_id(self, now):
        return make_id(now, next(self._ids))
