"""The hard negatives N1-N11: good owners whose mail looks like abuse in one way or another.

Each of them is something that an established person also does, from two weeks into the trace on, beside the mail of a
real mailbox. What no person hands in (forwards, automatic replies, list software: kind `user`; backscatter: kind
`host`) comes from the mail server itself, without a login, as an account of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import formatdate
from random import Random

import msgspec

from penstock.evaluation.attacks import stranger
from penstock.evaluation.letters import Attached, Letter, write
from penstock.evaluation.owners import Mail
from penstock.evaluation.stage import DAY, HOUR, WORDS, Person, Play, Stage
from penstock.evaluation.trace import Source

Deed = Callable[[Stage, Person, Mail, float], None]
"""(stage, person, mail, from when on) → plays what the person does besides writing letters."""


def _play(person: Person, model: str, source: Source | None = None, **changes: float) -> Play:
    plain = Play(person.account, person.address, person.name, source or person.home, model=model)
    return msgspec.structs.replace(plain, **changes)


def _machine(person: Person, model: str, **changes: float) -> Play:
    """What the mail server does by itself for a person."""
    here = Source("127.0.0.1", f"mx.{person.address.rpartition('@')[2]}")
    plain = Play(f"user:{person.address}", person.address, person.name, here, model=model)
    return msgspec.structs.replace(plain, **changes)


def forwards(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N1: all inbound mail, a third of it spam, goes on to one fixed address with its own sender and Received line."""
    rng = stage.rng
    target, host = stranger(rng), person.address.rpartition("@")[2]
    play = _machine(person, "N1", complaint_share=0.01)
    while t < stage.ended:
        letter = rng.choice(mail.abuse if rng.random() < 0.33 else mail.foreign)
        sender = letter.sender if "@" in letter.sender[1:] else "somebody@else.example"
        extra = [
            ("Received", f"from mail.{sender.rpartition('@')[2]} by mx.{host} for <{person.address}>; {formatdate(t)}"),
            ("Delivered-To", person.address),
            ("X-Forwarded-For", f"{person.address} {target}"),
        ]
        srs = f"SRS0=ab{rng.randint(10, 99)}={sender.rpartition('@')[2]}={sender.partition('@')[0][:30]}@{host}"
        as_sent = msgspec.structs.replace(play, sender=sender, name=letter.name)
        stage.send(t, as_sent, [target], letter, shown=[person.address], mail_from=srs, extra=extra)
        t += rng.expovariate(3 / DAY)


def newsletter(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N2: a weekly newsletter to the same 100-400 readers, in one go, with List-Unsubscribe."""
    rng = stage.rng
    readers = [stranger(rng) for _ in range(rng.randint(100, 400))]
    size = rng.choice((1, 1, 50))
    play = _play(person, "N2", invalid_share=0.004)
    extra = [
        ("List-Unsubscribe", f"<https://www.{person.address.rpartition('@')[2]}/unsubscribe>"),
        ("Precedence", "bulk"),
    ]
    t += 10 * HOUR - t % DAY
    while t < stage.ended:
        letter, at = rng.choice(mail.newsletters or mail.foreign), t
        for start in range(0, len(readers), size):
            to = readers[start : start + size]
            stage.send(at, play, to, letter, shown=to if size == 1 else [person.address], extra=extra)
            at += rng.uniform(0.3, 2)
        readers = [one for one in readers if rng.random() > 0.01] + [stranger(rng) for _ in range(3)]
        t += 7 * DAY


def old_list(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N3: the first mailing of an old address list, with 4-10 % unknown recipients."""
    rng = stage.rng
    play = _play(person, "N3", invalid_share=rng.uniform(0.04, 0.1))
    letter = rng.choice(mail.newsletters or mail.foreign)
    t += rng.randint(0, 20) * DAY + 11 * HOUR - t % DAY
    for _ in range(rng.randint(150, 350)):
        to = stranger(rng)
        stage.send(t, play, [to], letter)
        t += rng.uniform(1, 6)


def invoices(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N4: a shop's robot sends every customer an order confirmation in shop hours; each recipient is new."""
    rng, shop = stage.rng, person.address.rpartition("@")[2]
    play = _play(person, "N4")
    per_day = rng.uniform(10, 40)
    while t < stage.ended:
        if 7 <= (t % DAY) / HOUR < 22:
            to, number = stranger(rng), rng.randint(10_000, 99_999)
            text = (
                f"Dear {to.partition('.')[0].title()},\n\nthank you for order {number}. We send {rng.randint(1, 5)} x "
                f"{rng.choice(WORDS)} {rng.choice(WORDS)} for {rng.uniform(9, 300):.2f} EUR within two days.\n"
                f"See https://www.{shop}/orders/{number}\n\nYour {shop} team\n"
            )
            stage.send(t, play, [to], Letter(t, "robot", "", person.address, (to,), f"Your order {number}", text))
        t += rng.expovariate(per_day * 24 / 15 / DAY)


def backscatter(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N5: a host's own bounces to forged senders, from the null reverse-path, in bursts."""
    rng, host = stage.rng, person.address.rpartition("@")[2]
    play = Play(f"host:{person.home.ip}", f"mailer-daemon@{host}", "Mail Delivery System", person.home, model="N5")
    play = msgspec.structs.replace(play, invalid_share=0.4)
    while t < stage.ended:
        for _ in range(rng.choice((1, 1, 2, 30))):
            to = stranger(rng)
            text = f"I could not deliver your message to info@{host}.\n\n550 5.1.1 unknown user\n"
            part = Attached("message.eml", "message/rfc822", _inside(rng, mail))
            letter = Letter(t, "robot", "", "", (to,), "Undelivered Mail Returned to Sender", text, "", (part,))
            stage.send(t, play, [to], letter, mail_from="", extra=[("Auto-Submitted", "auto-replied")])
            t += rng.uniform(1, 20)
        t += rng.expovariate(1.5 / DAY)


def vacation(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N6: three weeks of identical automatic replies to whoever writes."""
    rng = stage.rng
    play, until = _machine(person, "N6", invalid_share=0.03), t + 21 * DAY
    day = rng.randint(1, 28)
    text = f"I am away until the {day}th and read no mail.\nIn urgent cases call my office.\n{person.name}\n"
    while t < until:
        for _ in range(rng.choice((1, 1, 1, 12))):
            to = stranger(rng)
            letter = Letter(t, "robot", "", person.address, (to,), "Out of office", text)
            stage.send(t, play, [to], letter, mail_from="", extra=[("Auto-Submitted", "auto-replied")])
            t += rng.uniform(1, 60)
        t += rng.expovariate(6 / DAY)


def christmas_card(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N7: one greeting to everybody the owner knows and some more, as one blind copy or one by one."""
    rng = stage.rng
    t += rng.randint(7, 25) * DAY + 18 * HOUR - t % DAY
    guests = person.contacts(t)[:300]
    guests += [stranger(rng) for _ in range(max(20, len(guests) // 4))]
    text = f"Dear friends,\n\na merry Christmas and a happy new year to all of you.\n\nYours\n{person.name}\n"
    letter = Letter(t, "own", person.name, person.address, tuple(guests), "Merry Christmas!", text)
    play = _play(person, "N7", invalid_share=0.01)
    if rng.random() < 0.5:
        stage.send(t, play, guests, letter, shown=[person.address])
        return
    for to in guests:
        stage.send(t, play, [to], letter)
        t += rng.uniform(1, 5)


def new_place(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N8: the owner travels or changes job: from now on another network and mail program, and new colleagues."""
    rng = stage.rng
    moved = stage.source()
    t += rng.randint(0, 15) * DAY
    stage.login(t, person.account, moved, "imap")
    person.moved = (t, moved)
    colleagues = [stranger(rng) for _ in range(8)]
    play = _play(person, "N8", moved)
    for number in range(30):
        at = t + number * HOUR * rng.uniform(2, 5)
        letter = rng.choice(person.letters)[1]
        stage.send(at, play, [rng.choice(colleagues)], letter)


def mailing_list(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N9: list software sends every post of a club's members on to all 40 of them, with List-Id."""
    rng, host = stage.rng, person.address.rpartition("@")[2]
    members = [stranger(rng) for _ in range(40)]
    play = _machine(person, "N9")
    extra = [("List-Id", f"Club <club.{host}>"), ("Precedence", "list"), ("List-Unsubscribe", f"<mailto:leave@{host}>")]
    while t < stage.ended:
        letter = rng.choice(mail.foreign)
        sent = msgspec.structs.replace(letter, subject=f"[club] {letter.subject}")
        stage.send(t, play, members, sent, shown=[f"club@{host}"], mail_from=f"club-bounces@{host}", extra=extra)
        t += rng.expovariate(2 / DAY)


def abuse_desk(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N10: an abuse desk reports phishing to other providers, with the whole message attached."""
    rng = stage.rng
    play = _play(person, "N10")
    while t < stage.ended:
        to = f"abuse@{rng.choice(WORDS)}{rng.randint(1, 60)}.example.net"
        part = Attached("report.eml", "message/rfc822", _inside(rng, mail))
        text = "Hello,\n\nthe attached message came from your network. Please look into it.\n\nThe abuse desk\n"
        letter = Letter(t, "own", "", person.address, (to,), "Fw: abuse report", text, "", (part,))
        stage.send(t, play, [to], letter)
        t += rng.expovariate(4 / DAY)


def cold_outreach(stage: Stage, person: Person, mail: Mail, t: float) -> None:
    """N11: a sales person writes one by one to 10-25 strangers a working day; some complain."""
    rng = stage.rng
    play = _play(person, "N11", invalid_share=0.03, complaint_share=0.004)
    per_day = rng.uniform(10, 25)
    pitch = rng.choice(("our accounting service", "spare parts for your machines", "a workshop on safety at work"))
    while t < stage.ended:
        if 8 <= (t % DAY) / HOUR < 17 and (t - 4 * DAY) // DAY % 7 < 5:
            to = stranger(rng)
            name = to.partition(".")[0].title()
            text = f"Dear {name},\n\nI saw your company's page and would like to show you {pitch}. "
            text += f"May I call on you next week?\n\nRegards\n{person.name}\n"
            stage.send(t, play, [to], Letter(t, "own", "", person.address, (to,), f"{name}, a question", text))
        t += rng.expovariate(per_day * 24 / 9 / DAY)


def _inside(rng: Random, mail: Mail) -> bytes:
    """A real abuse message, to be attached whole."""
    letter = rng.choice(mail.abuse)
    return write(letter, sender="x@spam.example", shown=["victim@else.example"], at=letter.at, name=letter.name)


BY_MODEL: Mapping[str, Deed] = {
    "N1": forwards,
    "N2": newsletter,
    "N3": old_list,
    "N4": invoices,
    "N5": backscatter,
    "N6": vacation,
    "N7": christmas_card,
    "N8": new_place,
    "N9": mailing_list,
    "N10": abuse_desk,
    "N11": cold_outreach,
}
