"""Makes traces: accounts that send real mail at real times, with attacks, hard negatives and placebos put among them.

The first third of a trace is peace, so that accounts have a history when attacks begin; attacks end before the last
tenth, so that their aftermath is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from penstock.evaluation import attacks, hard_negatives
from penstock.evaluation.letters import Letter
from penstock.evaluation.owners import WEEK_S, Mail
from penstock.evaluation.stage import DAY, HOUR, WORDS, Person, Play, Stage
from penstock.evaluation.trace import Source

BEGAN = 1767571200.0
"""Monday, 5 January 2026, 00:00 UTC."""
PLACEBOS = ("A3", "A5")
"""Attack models whose timing is also played with legitimate text of strangers, as P3 and P5."""


class Wanted(Struct, frozen=True):
    """How large a trace is."""

    accounts: int = 300
    days: int = 60
    campaigns: int = 10
    """Of each attack model and placebo."""
    snowshoe_accounts: int = 50
    hard_negatives: int = 5
    """Accounts of each kind."""
    seed: int = 1


class Made(Struct, frozen=True):
    """What was made."""

    events: int
    accounts: int
    windows_used_twice: int
    """Accounts whose letters are another account's with weeks in another order, because real ones were too few."""


def make_trace(mail: Mail, folder: Path, wanted: Wanted) -> Made:
    """Write a trace into a folder; the same mail, numbers and seed write the same trace.

    Raises ValueError where the mail lacks owners or abuse, FileExistsError where the folder already holds a trace.
    """
    if not (mail.windows and mail.abuse):
        raise ValueError("a trace needs owners with sent mail and messages of abuse; one of the two has none")
    if not mail.foreign:
        mail = msgspec.structs.replace(mail, foreign=tuple(window.letters[0] for window in mail.windows))
    stage = Stage(folder, seed=wanted.seed, began=BEGAN, days=wanted.days)
    people = _people(stage, mail, wanted)
    roles = _play_hard_negatives(stage, people, mail, wanted)
    ordinary = [person for person in people if person.account not in roles]
    _play_owners(stage, people)
    _play_attacks(stage, ordinary, mail, wanted)
    _play_placebos(stage, ordinary, mail, wanted)
    return Made(stage.close(), len(people), max(0, wanted.accounts - len(mail.windows)))


def _people(stage: Stage, mail: Mail, wanted: Wanted) -> list[Person]:
    windows = list(mail.windows)
    stage.rng.shuffle(windows)
    people = []
    for index in range(wanted.accounts):
        window = windows[index % len(windows)]
        letters = [(stage.began + letter.at - window.began, letter) for letter in window.letters]
        if index >= len(windows):
            letters = _other_weeks(stage, letters)
        people.append(stage.person(index, [(t, letter) for t, letter in letters if t < stage.ended]))
    return people


def _other_weeks(stage: Stage, letters: list[tuple[float, Letter]]) -> list[tuple[float, Letter]]:
    """A block bootstrap: whole weeks drawn with replacement, so that hours and weekdays stay what they are."""
    weeks = int((stage.ended - stage.began) // WEEK_S) + 1
    by_week: dict[int, list[tuple[float, Letter]]] = {}
    for t, letter in letters:
        by_week.setdefault(int((t - stage.began) // WEEK_S), []).append((t, letter))
    drawn = []
    for week in range(weeks):
        chosen = stage.rng.randrange(weeks)
        drawn += [(t + (week - chosen) * WEEK_S, letter) for t, letter in by_week.get(chosen, [])]
    return sorted(drawn, key=lambda one: one[0]) or letters


def _play_owners(stage: Stage, people: Sequence[Person]) -> None:
    rng = stage.rng
    for person in people:
        play = Play(person.account, person.address, person.name, person.home)
        dead = {to for _, letter in person.letters for to in letter.recipients if rng.random() < 0.004}
        last_login = 0.0
        for t, letter in person.letters:
            source = person.source_at(t, rng)
            if t - last_login > 12 * HOUR:
                stage.login(t - 30, person.account, source, "imap")
                last_login = t
            own = msgspec.structs.replace(play, source=source, invalid_share=0.002)
            stage.send(t, own, letter.recipients, letter, bounced=[to for to in letter.recipients if to in dead])


def _play_hard_negatives(stage: Stage, people: list[Person], mail: Mail, wanted: Wanted) -> set[str]:
    """Give the last people a role each; returns their accounts."""
    roles = [model for model in hard_negatives.BY_MODEL for _ in range(wanted.hard_negatives)]
    busy = sorted(people, key=lambda one: len(one.letters))
    settled = [one for one in busy if one.letters and one.letters[0][0] < stage.began + 14 * DAY]
    if len(roles) > len(settled) // 2:
        raise ValueError(f"{len(roles)} hard negatives need {2 * len(roles)} accounts with mail in their first weeks")
    chosen = stage.rng.sample(settled, len(roles))
    for model, person in zip(roles, chosen, strict=True):
        hard_negatives.BY_MODEL[model](stage, person, mail, stage.began + 14 * DAY)
    return {person.account for person in chosen}


def _play_attacks(stage: Stage, ordinary: list[Person], mail: Mail, wanted: Wanted) -> None:
    number = 0
    for model, attack in attacks.BY_MODEL.items():
        for index in range(wanted.campaigns):
            number += 1
            began = _onset(stage, model)
            victim = _victim(stage, ordinary, model, began, number)
            how = attacks.VARIATIONS[index % len(attacks.VARIATIONS)]
            play = _hostile(stage, victim, model, f"c{number}")
            if model not in ("A7", "A9"):
                _break_in(stage, play, began)
            campaign = attacks.Campaign(play, victim, stage.rng.choice(mail.abuse), began, how)
            _finish(stage, [victim], attack(stage, campaign))
    for index in range(max(1, wanted.campaigns // 2)):
        number += 1
        began = _onset(stage, "A4")
        free = [person for person in ordinary if person.busy_until < began]
        victims = stage.rng.sample(free, min(len(free), wanted.snowshoe_accounts))
        letter = stage.rng.choice(mail.abuse)
        how = attacks.VARIATIONS[index % len(attacks.VARIATIONS)]
        plays = [_hostile(stage, victim, "A4", f"c{number}") for victim in victims]
        both = zip(plays, victims, strict=True)
        ended = attacks.snowshoe(stage, [attacks.Campaign(play, one, letter, began, how) for play, one in both])
        _finish(stage, victims, ended)


def _onset(stage: Stage, model: str) -> float:
    """A time between the first third and the last tenth; those who look like owners keep office hours."""
    length = stage.ended - stage.began
    span = 30 * DAY if model == "A10" else 7 * DAY if model == "A3" else DAY
    latest = max(0.34, 0.9 - span / length)
    t = stage.began + stage.rng.uniform(0.33, latest) * length
    if model in ("A3", "A5", "A6", "A10"):
        day = int((t - stage.began) // DAY)
        day -= max(0, day % 7 - 4)
        t = stage.began + day * DAY + stage.rng.uniform(8, 16) * HOUR
    return t


def _victim(stage: Stage, ordinary: list[Person], model: str, began: float, number: int) -> Person:
    if model == "A9":
        return stage.person(90_000 + number, [])
    if model == "A7":
        return _script(stage, number, began)
    free = [person for person in ordinary if person.busy_until < began]
    history = {person.account: sum(t < began for t, _ in person.letters) for person in free}
    settled = [person for person in free if history[person.account] >= 8]
    if model in ("A5", "A6"):  # the busiest quarter has contacts to phish and threads to answer
        settled = sorted(settled, key=lambda one: -history[one.account])[: max(1, len(settled) // 4)]
    if not settled:
        raise ValueError("there are too few accounts with a history for so many campaigns")
    return stage.rng.choice(settled)


def _script(stage: Stage, number: int, began: float) -> Person:
    """A web form that has sent its owner a few enquiries a day until then."""
    rng = stage.rng
    person = stage.person(80_000 + number, [])
    host = person.address.rpartition("@")[2]
    web = Source(f"198.51.100.{rng.randint(1, 250)}", f"web{rng.randint(1, 30)}.example", "PHP")
    account = f"script:{web.helo.partition('.')[0]}/home/s{number}/public_html/contact.php"
    script = Person(account, f"www@{host}", "Contact form", web, web, [])
    play = Play(account, script.address, script.name, web)
    t = stage.began + rng.uniform(0, DAY)
    while t < began:
        text = f"Name: {rng.choice(WORDS)}\nMail: {attacks.stranger(rng)}\nMessage: please call me back\n"
        owner = f"office@{host}"
        stage.send(t, play, [owner], Letter(t, "robot", "", script.address, (owner,), "Enquiry", text))
        t += rng.expovariate(3 / DAY)
    return script


def _hostile(stage: Stage, victim: Person, model: str, campaign: str) -> Play:
    """From a strange network; a quarter of contact phishing and all of mimicry from the owner's own machine."""
    is_inside = model in ("A7", "A10") or (model == "A5" and stage.rng.random() < 0.25)
    source = victim.home if is_inside else stage.source(victim.home.client if model == "A6" else "")
    return Play(
        victim.account,
        victim.address,
        victim.name,
        source,
        "abuse",
        model,
        campaign,
        attacks.INVALID_SHARE[model],
        0.003,
    )


def _break_in(stage: Stage, play: Play, began: float) -> None:
    for _ in range(stage.rng.choice((0, 0, 0, 4))):
        stage.login(began - stage.rng.uniform(100, 5000), play.account, stage.source(), "smtp", ok=False)
    stage.login(began - stage.rng.uniform(1, 90), play.account, play.source, "smtp")


def _finish(stage: Stage, victims: Sequence[Person], ended: float) -> None:
    """Some hours after the end the owner has the account back."""
    back = ended + stage.rng.uniform(2, 12) * HOUR
    for victim in victims:
        stage.password(back, victim.account)
        victim.busy_until = back + DAY


def _play_placebos(stage: Stage, ordinary: list[Person], mail: Mail, wanted: Wanted) -> None:
    for model in PLACEBOS:
        for index in range(wanted.campaigns):
            began = _onset(stage, model)
            person = _victim(stage, ordinary, model, began, index)
            play = Play(person.account, person.address, person.name, person.home, model="P" + model[1:])
            few = tuple(stage.rng.sample(mail.foreign, min(20, len(mail.foreign))))
            campaign = attacks.Campaign(play, person, few[0], began, others=few)
            person.busy_until = attacks.BY_MODEL[model](stage, campaign) + DAY
