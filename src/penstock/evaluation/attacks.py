"""The attack models A1-A10: how abuse uses an account, with the published rates that each is drawn from.

Texts are real abuse of the half that is reported on; lures of A5 and A6 are written here, because hijacked threads
are not in public collections. Every campaign uses one way of varying its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

import msgspec
from msgspec import Struct

from penstock.evaluation.letters import Attached, Letter
from penstock.evaluation.stage import DAY, HOUR, WORDS, Person, Play, Stage

VARIATIONS = ("same", "name", "filler", "shuffle", "links")
_URL = re.compile(r"(https?://[^\s\"'<>/]+)(/[^\s\"'<>]*)?")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_LURES = (
    "Hi, please see the document we talked about: {url}\nThanks",
    "Could you look at this invoice today? {url}\nIt is overdue.",
    "I have shared a file with you. Open it here: {url}",
    "As discussed, the updated figures are here: {url} (sign in with your mail password).",
    "Sorry for the delay. The signed agreement can be downloaded at {url}",
    "Your mailbox is almost full. Keep your messages by confirming here: {url}",
    "Please check the attached and let me know. Password: 4411\n{url}",
    "New voice message for you, 0:42 min. Listen: {url}",
)


class Campaign(Struct, frozen=True):
    """One campaign that is about to run through one account."""

    play: Play
    victim: Person
    letter: Letter
    began: float
    how: str = "same"
    """One of `VARIATIONS`."""
    others: tuple[Letter, ...] = ()
    """For placebos: every copy is another of these letters."""

    def copy(self, rng: Random, recipient: str) -> Letter:
        """One copy of the letter, varied."""
        return vary(rng.choice(self.others) if self.others else self.letter, self.how, rng, recipient)


Attack = Callable[[Stage, Campaign], float]
"""Plays a campaign on a stage and returns when it ended."""


def vary(letter: Letter, how: str, rng: Random, recipient: str) -> Letter:
    """One copy of a campaign's letter, personalised in one of the ways of `VARIATIONS`."""
    plain, html, subject = letter.plain, letter.html, letter.subject
    match how:
        case "name":
            hello = f"Dear {recipient.partition('@')[0].title()},"
            plain = f"{hello}\n\n{plain}" if plain else ""
            html = f"<p>{hello}</p>{html}" if html else ""
        case "filler":
            words = " ".join(rng.choices(WORDS, k=rng.randint(15, 50)))
            plain = f"{plain}\n\n{words}\n" if plain else ""
            html = f"{html}<p>{words}</p>" if html else ""
            subject = f"{subject} {rng.randint(1000, 99999)}"
        case "shuffle":
            plain = _shuffled(plain, rng)
            subject = f"{rng.choice(WORDS)}: {subject}"
        case "links":
            token = f"{rng.getrandbits(48):012x}"
            plain, html = (_URL.sub(rf"\1/{token}", text) for text in (plain, html))
        case _:
            pass
    return msgspec.structs.replace(letter, plain=plain, html=html, subject=subject)


def _shuffled(text: str, rng: Random) -> str:
    sentences = [one for one in _SENTENCE.split(text) if one.strip()]
    rng.shuffle(sentences)
    return " ".join(sentences)


def stranger(rng: Random) -> str:
    """An address that nobody here has written to."""
    name = f"{rng.choice(WORDS)}.{rng.choice(WORDS)}{rng.randint(1, 9999)}"
    return f"{name}@{rng.choice(WORDS)}{rng.randint(1, 400)}.example.{rng.choice(('com', 'net', 'org', 'de'))}"


def fast_blast(stage: Stage, campaign: Campaign) -> float:
    """A1: 1.8 messages a second, one recipient each, 37 % unknown (Otago, Cutwail)."""
    play, t = campaign.play, campaign.began
    for _ in range(300):
        to = stranger(stage.rng)
        stage.send(t, play, [to], campaign.copy(stage.rng, to))
        t += stage.rng.expovariate(1.8)
    return t


def huge_cc(stage: Stage, campaign: Campaign) -> float:
    """A2: 90 messages an hour to 170 recipients each (5,312 messages to 918,484 recipients in a weekend)."""
    play, t = campaign.play, campaign.began
    for _ in range(60):
        to = [stranger(stage.rng) for _ in range(stage.rng.randint(150, 190))]
        stage.send(t, play, to, campaign.copy(stage.rng, to[0]), shown=[play.sender])
        t += stage.rng.expovariate(90 / HOUR)
    return t


def low_and_slow(stage: Stage, campaign: Campaign) -> float:
    """A3: 1-5 messages an hour in office hours for five days, while the owner goes on sending."""
    play, t = campaign.play, campaign.began
    per_hour = stage.rng.uniform(1, 5)
    until = t + 5 * DAY
    while t < until:
        if 8 <= (t % DAY) / HOUR < 18:
            to = stranger(stage.rng)
            stage.send(t, play, [to], campaign.copy(stage.rng, to))
        t += stage.rng.expovariate(per_hour / HOUR)
    return t


def contact_phishing(stage: Stage, campaign: Campaign) -> float:
    """A5: 25-150 of the owner's own contacts, one by one or in one blind copy, on a weekday in office hours."""
    play, t = campaign.play, campaign.began
    lure = _lure(stage.rng, campaign.letter)
    contacts = campaign.victim.contacts(t)[: stage.rng.randint(25, 150)]
    if stage.rng.random() < 0.3:
        for group in range(0, len(contacts), 25):
            stage.send(t, play, contacts[group : group + 25], lure, shown=[play.sender])
            t += stage.rng.uniform(20, 120)
        return t
    for to in contacts:
        stage.send(t, play, [to], vary(lure, campaign.how, stage.rng, to))
        t += stage.rng.uniform(3, 40)
    return t


def reply_chain(stage: Stage, campaign: Campaign) -> float:
    """A6: short answers with a link or an archive to the owner's old threads, many in minutes (Emotet, Qakbot)."""
    play, t = campaign.play, campaign.began
    rng = stage.rng
    lure = _lure(rng, campaign.letter)
    has_archive = rng.random() < 0.5
    old = [one for at, one in campaign.victim.letters if at < t]
    rng.shuffle(old)
    for thread in old[: rng.randint(40, 80)]:
        archive = Attached(
            f"{rng.choice(WORDS)}_{rng.randint(10, 999)}.zip", "application/zip", b"PK\x03\x04" + lure.plain.encode()
        )
        quoted = "\n".join("> " + line for line in thread.plain.splitlines()[:40])
        answer = msgspec.structs.replace(
            vary(lure, campaign.how, rng, thread.recipients[0]),
            subject=thread.subject if thread.subject.lower().startswith("re:") else f"Re: {thread.subject}",
            html="",
            attached=(archive,) if has_archive else (),
        )
        answer = msgspec.structs.replace(answer, plain=f"{answer.plain}\n\nOn an earlier day you wrote:\n{quoted}\n")
        stage.send(
            t, play, thread.recipients[:5], answer, extra=[("In-Reply-To", thread.message_id or "<old@thread.example>")]
        )
        t += rng.uniform(5, 45)
    return t


def script_mailer(stage: Stage, campaign: Campaign) -> float:
    """A7: a script sends to one recipient a request, flat around the clock, from many client networks."""
    play, t = campaign.play, campaign.began
    for _ in range(300):
        to = stranger(stage.rng)
        moved = (
            msgspec.structs.replace(play, source=stage.source(play.source.client)) if stage.rng.random() < 0.2 else play
        )
        stage.send(t, moved, [to], campaign.copy(stage.rng, to))
        t += stage.rng.expovariate(120 / HOUR)
    return t


def dictionary(stage: Stage, campaign: Campaign) -> float:
    """A8: names in alphabetic order at few domains, 30-60 % unknown."""
    play, t = campaign.play, campaign.began
    rng = stage.rng
    domains = [f"{rng.choice(WORDS)}{rng.randint(1, 400)}.example.com" for _ in range(3)]
    names = sorted({f"{rng.choice(WORDS)[:4]}{rng.choice(WORDS)}" for _ in range(900)})
    size = rng.choice((1, 1, 5, 10))
    targets = [f"{name}@{domain}" for domain in domains for name in names][: 300 * size]
    for start in range(0, len(targets), size):
        to = targets[start : start + size]
        stage.send(t, play, to, campaign.copy(rng, to[0]), shown=to[:1])
        t += rng.expovariate(0.5)
    return t


def new_sign_up(stage: Stage, campaign: Campaign) -> float:
    """A9: an account without history sends within its first day."""
    play, t = campaign.play, campaign.began
    stage.login(t - 600, play.account, play.source, "web")
    per_hour = stage.rng.choice((15, 60, 300))
    for _ in range(200):
        to = stranger(stage.rng)
        stage.send(t, play, [to], campaign.copy(stage.rng, to))
        t += stage.rng.expovariate(per_hour / HOUR)
    return t


def mimicry(stage: Stage, campaign: Campaign) -> float:
    """A10: from the owner's own network, five per cent more a day for weeks, text mixed with the owner's own."""
    play, t = campaign.play, campaign.began
    rng = stage.rng
    own = [one.plain for at, one in campaign.victim.letters if at < t and one.plain] or ["Hello"]
    subjects = [one.subject for at, one in campaign.victim.letters if at < t] or ["Hello"]
    contacts = campaign.victim.contacts(t) or [stranger(rng)]
    day = t - t % DAY
    for number in range(21):
        for _ in range(max(1, round(1.5 * 1.05**number + rng.uniform(-0.5, 0.5)))):
            at = day + number * DAY + rng.uniform(8, 18) * HOUR
            to = rng.choice(contacts) if rng.random() < 0.3 else stranger(rng)
            mixed = f"{rng.choice(own)[:300]}\n\n{_shuffled(campaign.letter.plain or campaign.letter.subject, rng)}"
            disguised = msgspec.structs.replace(campaign.letter, plain=mixed, html="", subject=rng.choice(subjects))
            if at >= t:
                stage.send(at, play, [to], disguised)
    return day + 21 * DAY


def snowshoe(stage: Stage, campaigns: Sequence[Campaign]) -> float:
    """A4: one campaign over 50-500 accounts, 2-6 messages each, within six hours."""
    for campaign in campaigns:
        at = campaign.began + stage.rng.uniform(0, 5.5 * HOUR)
        for _ in range(stage.rng.randint(2, 6)):
            to = stranger(stage.rng)
            stage.send(at, campaign.play, [to], campaign.copy(stage.rng, to))
            at += stage.rng.uniform(10, 300)
    return campaigns[0].began + 6 * HOUR


def _lure(rng: Random, letter: Letter) -> Letter:
    """A short text with the link of a real abuse letter, or with one of its kind."""
    found = _URL.search(letter.html or letter.plain)
    host = (
        found.group(1) if found else f"https://{rng.choice(WORDS)}-{rng.choice(WORDS)}{rng.randint(1, 999)}.example.top"
    )
    text = rng.choice(_LURES).format(url=f"{host}/{rng.choice(WORDS)}/{rng.getrandbits(32):08x}")
    return Letter(
        letter.at,
        letter.origin,
        "",
        letter.sender,
        (),
        rng.choice(("Invoice", "Document", "Shared file", "Urgent")),
        text,
    )


BY_MODEL: Mapping[str, Attack] = {
    "A1": fast_blast,
    "A2": huge_cc,
    "A3": low_and_slow,
    "A5": contact_phishing,
    "A6": reply_chain,
    "A7": script_mailer,
    "A8": dictionary,
    "A9": new_sign_up,
    "A10": mimicry,
}
"""All but A4, which needs many accounts."""
INVALID_SHARE: Mapping[str, float] = {
    "A1": 0.37, "A2": 0.2, "A3": 0.1, "A4": 0.15, "A5": 0.01, "A6": 0.03, "A7": 0.3, "A8": 0.45, "A9": 0.2, "A10": 0.02,
}  # fmt: skip
"""Unknown recipients of each model."""
