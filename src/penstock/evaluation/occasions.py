"""Letters of occasions that no public corpus holds: orders, invoices, reminders, and the lures that imitate them.

Corpora hold what people and mailing lists wrote, so that whatever sounds like business looks like abuse to what was
learnt from them. `occasions/legitimate.txt` and `occasions/abuse.txt` are written for this purpose, some eighty and
sixty letters in a dozen languages; each is filled in several times with names, numbers and links. Their wording is
learnt from, their structure, which is all of one hand, is not; nothing is measured with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.header import Header
from html import escape
from importlib import resources
from random import Random

from penstock.evaluation.corpus import Sample

SOURCE = "occasions"
COPIES = 12
"""Of each letter, filled in differently; all of them count as one group."""
_NAMES = (
    "Anna Smith Martin Weber Lucie Moreau Carlos Ruiz Marco Rossi Jan Novak Eva Lind Olga Petrova Tom Baker".split()
)
_FIRMS = "Northgate Alder Seehof Lumen Orchard Kestrel Bluewater Falkner Montclair Vega Harbour Tilia".split()
_MONTHS = "January March April June August October November".split()
_ROBOTS = "no-reply orders service billing info support hello office".split()


def occasions() -> Iterator[Sample]:
    """All letters, each in several copies, plain and HTML by turns; the same on every call."""
    rng = Random(7)  # noqa: S311 - a fixed seed is the point
    for name, is_abuse in (("legitimate", False), ("abuse", True)):
        text = (resources.files("penstock.evaluation") / "occasions" / f"{name}.txt").read_text("utf-8")
        for number, letter in enumerate(text.split("%%\n")):
            for copy in range(COPIES):
                raw = _written(letter, is_abuse, copy % 2 == 1, rng)
                yield Sample(SOURCE, f"{name}#{number}.{copy}", raw, is_abuse, f"{name}#{number}")


def _written(letter: str, is_abuse: bool, is_html: bool, rng: Random) -> bytes:
    """One message: legitimate mail links to its sender's own site, a lure sent from somebody's mailbox elsewhere."""
    firm, name = rng.choice(_FIRMS), rng.choice(_NAMES)
    domain = f"{firm.lower()}{rng.randint(1, 99)}.{rng.choice(('com', 'de', 'fr', 'net', 'co.uk', 'org'))}"
    sender = f"{name} <{name.lower()}@{domain}>" if is_abuse else f"{firm} <{rng.choice(_ROBOTS)}@{domain}>"
    site = f"{rng.choice(_FIRMS).lower()}-{rng.choice(_FIRMS).lower()}{rng.randint(1, 99)}.com" if is_abuse else domain
    subject, _, body = letter.format_map(_filled(firm, site, rng)).partition("\n")
    kind, text = ("html", _page(body)) if is_html else ("plain", body)
    return (
        f"From: {sender}\r\nTo: {rng.choice(_NAMES).lower()}@{rng.choice(_FIRMS).lower()}.example\r\n"
        f"Subject: {Header(subject, 'utf-8').encode() if not subject.isascii() else subject}\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}"
    ).encode()


def _filled(firm: str, site: str, rng: Random) -> dict[str, str]:
    sign = rng.choice(("EUR {}", "{} EUR", "{} €", "${}", "£{}"))

    def money(low: int, high: int) -> str:
        return sign.format(f"{rng.randint(low, high)}.{rng.randint(0, 99):02}")

    path = rng.choice(("", "a/", "customer/", "view?id=", "t/"))
    return {
        "name": rng.choice(_NAMES),
        "name2": rng.choice(_NAMES),
        "firm": firm,
        "month": rng.choice(_MONTHS),
        "date": f"{rng.randint(1, 28)}.{rng.randint(1, 12)}.20{rng.randint(10, 26)}",
        "time": f"{rng.randint(8, 18)}:{rng.choice(('00', '15', '30'))}",
        "phone": f"0{rng.randint(10, 99)} {rng.randint(100000, 9999999)}",
        "link": f"https://{rng.choice(('www.', '', 'my.'))}{site}/{path}{rng.getrandbits(40):x}",
        "n": str(rng.randint(10_000, 999_999)),
        "d2": str(rng.randint(10, 59)),
        "d4": str(rng.randint(1000, 9999)),
        "money": money(40, 4000),
        "small": money(2, 60),
        "million": sign.format(f"{rng.randint(2, 48)}.5 million"),
        "zero": sign.format("0.00"),
    }


def _page(body: str) -> str:
    """As a simple page, whose links are links."""
    words = [
        f'<a href="{escape(word)}">{escape(word)}</a>' if word.startswith("https://") else escape(word)
        for word in body.split(" ")
    ]
    return f"<html><body><p>{' '.join(words)}</p></body></html>\r\n".replace("\n", "<br>\n")
