"""A gate for tests: says what it is told to say, and remembers what it was asked."""

from __future__ import annotations

from msgspec.structs import replace

from penstock.model import Account, Action, Admission, Decision, Kind, Reply, Standing


class FakeGate:
    may_refuse = True

    def __init__(self, action=Action.ACCEPT, *, refusal=None, reply=None, pool="", pool_at_mail="", **facts):
        self.action, self.reply, self.pool, self.facts = action, reply, pool, facts
        self.admission = Admission(refusal, pool_at_mail)
        self.openings, self.submissions, self.outcomes = [], [], []

    async def admit(self, opening):
        self.openings.append(opening)
        return self.admission

    async def judge(self, submission):
        self.submissions.append(submission)
        decision = Decision(
            id=submission.id,
            at=submission.received_at,
            account=Account("sasl", submission.connection.login or "nobody"),
            action=self.action,
            wanted=self.action,
            standing=Standing.NORMAL,
            kind=Kind.NORMAL,
            score=0.0,
            reply=self.reply or Reply(550, "5.7.1", "[PS-CONTENT] no"),
            pool=self.pool,
            add_headers=(("X-Penstock-Ref", "token"),),
            remove_headers=("x-secret",),
        )
        return replace(decision, **self.facts)

    async def delivered(self, delivered):
        self.outcomes.append(delivered)
