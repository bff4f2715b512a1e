"""Notices in the customer's language: templates and words are data files; an operator's own folder goes before them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template

from msgspec import Struct

from penstock.model import Thing

ROLES = ("customer", "reseller", "desk")


class Sample(Struct, frozen=True):
    """One message that shows what was seen."""

    at: float
    subject: str
    mail_from: str
    recipients: int
    client_ip: str


class Story(Struct, frozen=True):
    """What a notice tells."""

    verb: str
    """`shut` or `opened`."""
    account: str
    at: float
    tenant: str = ""
    things: tuple[Thing, ...] = ()
    reason: str = ""
    conditions: tuple[str, ...] = ()
    """What is asked for before it is let in, by name."""
    samples: tuple[Sample, ...] = ()
    told: tuple[str, ...] = ()
    """Who else is told."""
    probation_days: float = 0.0
    """How long a tighter budget holds after a release; 0 for none."""
    probation_recipients: int = 0


class Texts:
    """Tells stories. A language without a text of its own is told in English."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` has files of the operator's own, such as `de/shut-customer.txt`."""
        self._folder = folder

    def tell(self, story: Story, role: str, language: str) -> tuple[str, str]:
        """Subject and body for one role. Raises OSError and ValueError for a template that cannot be used."""
        words: Mapping[str, str] = tomllib.loads(self._read(language, "words.toml"))
        subject, _, body = self._read(language, f"{story.verb}-{role}.txt").partition("\n")
        facts = _facts(story, words, reasons=role != "customer")
        return " ".join(Template(subject).substitute(facts).split())[:150], Template(body).substitute(facts)

    def _read(self, language: str, name: str) -> str:
        places = [files("penstock.notices")]
        for place in [self._folder, *places] if self._folder is not None else places:
            for one in (language, "en"):
                found = place / one / name
                if one.isalpha() and found.is_file():
                    return found.read_text("utf-8")
        raise FileNotFoundError(f"no notice {name} in {language} or en")


def _facts(story: Story, words: Mapping[str, str], *, reasons: bool) -> dict[str, str]:
    name = story.account.partition(":")[2]
    todo = [words[one] for one in story.conditions if one in words] or [words["person"]]
    things = [f"{words[one.rung]} {one.name}" for one in story.things] or [words["nothing"]]
    return {
        "account": story.account,
        "name": name,
        "tenant": story.tenant or "-",
        "samples": "".join(f"  {line}\n" for line in _samples(story.samples, words)),
        "reasons": f"  {story.reason}\n" if reasons and story.reason else "",
        "reason": story.reason or "-",
        "what": ", ".join(things),
        "todo": "".join(f"  * {one}\n" for one in todo),
        "told": ", ".join(story.told) or words["nobody"],
        "probation": _probation(story, words),
    }


def _probation(story: Story, words: Mapping[str, str]) -> str:
    if not story.probation_days:
        return ""
    facts = {"days": f"{story.probation_days:g}", "recipients": str(story.probation_recipients)}
    return Template(words["probation"]).substitute(facts) + "\n"


def _samples(samples: Sequence[Sample], words: Mapping[str, str]) -> list[str]:
    return [
        f"{datetime.fromtimestamp(one.at, UTC):%Y-%m-%d %H:%M:%S}  {one.recipients} {words['recipients']}"
        f"{f'  [{one.client_ip}]' if one.client_ip else ''}  {one.subject[:80]}"
        for one in samples
    ]
