"""What people use today, as judges that a trace can be replayed through, to be measured by the same rules.

Each is written from its maker's own description. Where a rule locks an account, the account stays locked until its
password is changed, as after a suspension of ours; where it only limits, what is over the limit is throttled and
tried again. Those that need a verdict on content are given ours, which is better than what they have.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from math import exp, log, sqrt
from pathlib import Path

import msgspec
from msgspec import Struct

from penstock.evaluation.accounts import AccountsReport, evaluate
from penstock.evaluation.replay import Judge, account_of
from penstock.evaluation.rspamd import ADD_HEADER_AT, REJECT_AT, is_installed, scores
from penstock.evaluation.trace import Trace
from penstock.model import Account, Action, Decision, Event, Evidence, Kind, Standing, Submission

HOUR, DAY = 3600.0, 86400.0
Score = Callable[[Submission], float]
"""The log-odds of abuse that a message's content alone speaks for, in nats."""
SPAM_AT = 4.6
"""Log-odds from which content counts as spam: ninety-nine to one."""


class Rule(Struct):
    """One baseline: what it says of a message, and of what comes back."""

    name: str

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        """What to do with a message, and whether to lock its account."""
        raise NotImplementedError

    def hears(self, account: str, event: Event) -> bool:
        """Whether what came back locks the account."""
        return False


class Locking(Judge):
    """Makes a judge of a rule: keeps which accounts are locked."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._locked: set[str] = set()

    async def judge(self, submission: Submission) -> Decision:
        """Refuse a locked account's mail, else ask the rule."""
        account = account_of(submission)
        if account not in self._locked:
            action, locks = self._rule.says(account, submission)
            if not locks:
                return _decision(submission, account, action, Standing.NORMAL, self._rule.name)
            self._locked.add(account)
        return _decision(submission, account, Action.REJECT, Standing.SUSPENDED, self._rule.name)

    async def absorb(self, event: Event) -> None:
        """Unlock at a change of password, else ask the rule."""
        if event.what == "password-changed":
            self._locked.discard(event.account)
        elif self._rule.hears(event.account, event):
            self._locked.add(event.account)


def _decision(submission: Submission, account: str, action: Action, standing: Standing, name: str) -> Decision:
    return Decision(
        submission.id,
        submission.received_at,
        Account.parse(account),
        action,
        action,
        standing,
        Kind.NORMAL,
        0.0,
        (Evidence(name, 0.0),),
    )


class Window:
    """Counts what happened in the last seconds, per account."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._sum: dict[str, int] = defaultdict(int)

    def count(self, account: str, now: float) -> int:
        """How many there are in the window."""
        seen = self._seen[account]
        while seen and seen[0][0] <= now - self._seconds:
            self._sum[account] -= seen.popleft()[1]
        return self._sum[account]

    def add(self, account: str, now: float, number: int = 1) -> int:
        """Count some more, and return how many there are now."""
        self._seen[account].append((now, number))
        self._sum[account] += number
        return self.count(account, now)


class Limit(Rule):
    """A fixed limit: so many messages or recipients in a time, what is over it waits."""

    window: Window
    most: int
    of_recipients: bool = False

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        number = len(submission.envelope.rcpt_to) if self.of_recipients else 1
        if self.window.count(account, submission.received_at) + number > self.most:
            return Action.THROTTLE, False
        self.window.add(account, submission.received_at, number)
        return Action.ACCEPT, False


class ContentAlone(Rule):
    """Every message by itself: what its content says, and nothing of its account."""

    score: Score
    spam_at: float = SPAM_AT

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        return (Action.HOLD if self.score(submission) >= self.spam_at else Action.ACCEPT), False


class SpamCount(Rule):
    """SpamExperts' lock: five spam messages in ten minutes; each of them is stopped too."""

    score: Score
    window: Window
    most: int = 5
    spam_at: float = SPAM_AT

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        if self.score(submission) < self.spam_at:
            return Action.ACCEPT, False
        return Action.HOLD, self.window.add(account, submission.received_at) >= self.most


class InvalidRecipients(Rule):
    """DirectAdmin BlockCracking: a hundred invalid recipients in an hour lock the login or script."""

    window: Window
    most: int = 100

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        return Action.ACCEPT, False

    def hears(self, account: str, event: Event) -> bool:
        return event.what == "bounced" and self.window.add(account, event.at) >= self.most


class RelayLock(Rule):
    """csf/lfd with blocking on: more than a hundred messages in an hour by one login or script lock it."""

    window: Window
    most: int = 100

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        return Action.ACCEPT, self.window.add(account, submission.received_at) > self.most


class Spot(Rule):
    """SPOT (Duan et al. 2012): Wald's SPRT on the content verdict; errors 0.01, spam shares 0.2 against 0.9."""

    score: Score
    sums: dict[str, float]
    spam_at: float = SPAM_AT
    honest: float = 0.2
    hijacked: float = 0.9
    error: float = 0.01

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        is_spam = self.score(submission) >= self.spam_at
        step = log(self.hijacked / self.honest) if is_spam else log((1 - self.hijacked) / (1 - self.honest))
        bound = log((1 - self.error) / self.error)
        total = self.sums.get(account, 0.0) + step
        self.sums[account] = 0.0 if abs(total) >= bound else total  # decided either way, the test begins anew
        return Action.ACCEPT, total >= bound


class Share(Rule):
    """A percentage threshold: half of at least six messages in an hour are spam."""

    score: Score
    spam: Window
    every: Window
    fewest: int = 6
    share: float = 0.5
    spam_at: float = SPAM_AT

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        now = submission.received_at
        every = self.every.add(account, now)
        spam = self.spam.add(account, now, int(self.score(submission) >= self.spam_at))
        return Action.ACCEPT, every >= self.fewest and spam >= self.share * every


class Surge(Rule):
    """Recipients in an hour against the account's own past hours: above mean and six deviations they wait."""

    window: Window
    past: dict[str, tuple[float, float, float]]
    """Account → time, mean and mean square of recipients an hour, forgotten with a half-life of two weeks."""
    deviations: float = 6.0
    fewest: int = 50

    def says(self, account: str, submission: Submission) -> tuple[Action, bool]:
        now = submission.received_at
        number = len(submission.envelope.rcpt_to)
        used = self.window.count(account, now)
        t, mean, square = self.past.get(account, (now, 0.0, 0.0))
        if used + number > max(self.fewest, mean + self.deviations * sqrt(max(0.0, square - mean * mean))):
            return Action.THROTTLE, False
        self.window.add(account, now, number)
        keep = exp(-max(now - t, 60.0) / (14 * DAY / log(2)))
        total = float(used + number)
        self.past[account] = (now, keep * mean + (1 - keep) * total, keep * square + (1 - keep) * total * total)
        return Action.ACCEPT, False


class Remembered:
    """A score that is asked for once a message, however many baselines want it."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._known: dict[str, float] = {}

    def __call__(self, submission: Submission) -> float:
        """The score, by the message's name in the trace."""
        known = self._known.get(submission.queue_id)
        if known is None:
            known = self._known[submission.queue_id] = self._score(submission)
        return known


def rules(score: Score, *, spam_at: float = SPAM_AT) -> tuple[Rule, ...]:
    """All baselines, anew. `score` is the content verdict that those get which need one."""
    return (
        Limit("100 messages an hour", Window(HOUR), 100),
        Limit("500 recipients a day", Window(DAY), 500, True),
        Surge("recipients an hour, 6 deviations", Window(HOUR), {}),
        RelayLock("csf: 100 an hour, lock", Window(HOUR)),
        InvalidRecipients("BlockCracking: 100 invalid an hour", Window(HOUR)),
        SpamCount("SpamExperts: 5 spam in 10 minutes", score, Window(600.0), 5, spam_at),
        Spot("SPOT's SPRT", score, {}, spam_at),
        Share("half of an hour's messages", score, Window(HOUR), Window(HOUR), 6, 0.5, spam_at),
        ContentAlone("content alone", score, spam_at),
    )


def score_of_installed_rspamd(trace: Trace, *, progress: Callable[[str], None]) -> Score | None:
    """The score of the rspamd that is installed here, asked once for every message; None where there is none."""
    if not is_installed():
        return None
    known = scores(trace, progress=progress)
    return lambda submission: known.get(submission.queue_id, 0.0)


def read_scores(file: Path) -> Score:
    """Scores that another filter gave: JSON lines of `{"id": "m1", "score": 7.2}`, by the message's name in the trace.

    A message without a line scores zero. Raises ValueError with the line that is wrong.
    """
    decoder = msgspec.json.Decoder(_Scored)
    known: dict[str, float] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            one = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise ValueError(f"{file}:{number}: {error}") from error
        known[one.id] = one.score
    return lambda submission: known.get(submission.queue_id, 0.0)


class _Scored(Struct):
    id: str
    score: float


async def evaluate_baselines(
    trace: Trace,
    score: Score,
    *,
    spam_at: float = SPAM_AT,
    rspamd: Score | None = None,
    burn_in_days: float = 0.0,
) -> list[AccountsReport]:
    """Replay the trace through every baseline; `rspamd` gives its score, where it is known. Raises TraceError."""
    wanted = rules(Remembered(score), spam_at=spam_at)
    if rspamd is not None:
        wanted += tuple(
            ContentAlone(f"rspamd's score alone, from {at:g}", rspamd, at) for at in (ADD_HEADER_AT, REJECT_AT)
        )
    return [await evaluate(trace, Locking(rule), name=rule.name, burn_in_days=burn_in_days) for rule in wanted]
