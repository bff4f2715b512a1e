"""Other scanners in the order of steps: asked once a message, weighed, told, and never needed."""

from test_pipeline import NOW, ByWord, Told, rules, submission

from penstock.judge.history import read_account
from penstock.judge.limits import Limit
from penstock.judge.opinions import Scale
from penstock.judge.rules import Plan
from penstock.model import Action, Opinion
from penstock.pipeline import Pipeline
from penstock.store.memory import MemoryStore


class Asked:
    def __init__(self, *opinions):
        self.opinions, self.count = opinions, 0

    async def ask(self, submission):
        self.count += 1
        return self.opinions


def gate(asker, **more):
    return Pipeline(MemoryStore(), ByWord(), rules(**more), Told(), clock=lambda: 0.0, asker=asker)


async def test_a_virus_is_refused_whoever_sends_it():
    """With its own tag; in observe mode it is only wanted; `hold` keeps it."""
    infected = Opinion("clamav", found="Eicar-Test")

    refused = await gate(Asked(infected)).judge(submission())
    held = await gate(Asked(infected), on_virus=Action.HOLD).judge(submission())

    assert (refused.action, refused.reason, refused.reply.code) == (Action.REJECT, "PS-VIRUS", 550)
    assert "virus" in [one.name for one in refused.findings]
    assert (held.action, held.reason) == (Action.HOLD, "PS-VIRUS")


async def test_a_virus_uses_up_no_limit():
    """It is refused before limits are asked, the account's and the tenant's, and also where they are used up."""
    plans = {"default": Plan((Limit("messages", "hour", 1),), (Limit("messages", "hour", 1, "tenant"),))}
    asked = Asked(Opinion("clamav", found="Eicar-Test"))
    pipeline = gate(asked, plans=plans)
    for _ in range(3):
        assert (await pipeline.judge(submission())).reason == "PS-VIRUS"
    asked.opinions = ()

    assert (await pipeline.judge(submission())).action is Action.ACCEPT
    assert (await pipeline.judge(submission())).reason == "PS-LIMIT"
    asked.opinions = (Opinion("clamav", found="Eicar-Test"),)
    assert (await pipeline.judge(submission())).reason == "PS-VIRUS"


async def test_what_a_virus_or_a_limit_refuses_is_not_learnt():
    """The account knows nobody whom only refused messages went to, and has learnt one message of three."""
    asked = Asked()
    pipeline = gate(asked, plans={"default": Plan((Limit("messages", "hour", 1),))})
    asked.opinions = (Opinion("clamav", found="Eicar-Test"),)
    await pipeline.judge(submission(to=["infected@far.example"]))
    asked.opinions = ()
    await pipeline.judge(submission(to=["friend@example.org"]))
    await pipeline.judge(submission(to=["too.many@far.example"]))
    (state,) = (await pipeline._store.read(("a:sasl:joe@example.com",))).values()
    account = read_account(state, NOW)

    assert account.learnt == 1
    assert [
        account.known.has(one) for one in ("infected@far.example", "friend@example.org", "too.many@far.example")
    ] == [
        False,
        True,
        False,
    ]


async def test_what_a_scanner_thinks_moves_the_content_evidence():
    """Up or down by its weight, and the decision tells its score."""

    async def content(*opinions):
        decision = await gate(Asked(*opinions), scales={"rspamd": Scale(1.0)}).judge(submission(1.0))
        return next(one.nats for one in decision.evidence if one.name == "content"), decision

    plain, _ = await content()
    high, told = await content(Opinion("rspamd", 30.0, 15.0, ("BAYES_SPAM",)))
    low, _ = await content(Opinion("rspamd", -5.0, 15.0))
    away, _ = await content(Opinion("rspamd", trouble="no answer in 3 s"))

    assert low < plain < high
    assert away == plain
    assert ("rspamd", "30.0 of 15.0: BAYES_SPAM") in [(one.name, one.detail) for one in told.findings]


async def test_each_message_is_asked_about_once():
    """However often its turns are run."""
    asker = Asked()
    pipeline = gate(asker)
    for _ in range(3):
        await pipeline.judge(submission())

    assert asker.count == 3
