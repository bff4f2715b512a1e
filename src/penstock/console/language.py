"""The console's languages: English sentences in the pages themselves, catalogues of the others beside them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

LANGUAGES = {"en": "English", "de": "Deutsch"}


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """English sentence of a page to the same in a language."""
    text = (files("penstock.console") / "words" / f"{language}.toml").read_text("utf-8")
    return {key: str(value) for key, value in tomllib.loads(text).items()}


class Words:
    """Says things in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalogue = catalogue(language)

    def __call__(self, text: str, **values: object) -> str:
        """A sentence in this language, in English where it has none; `{name}` is filled in."""
        found = self._catalogue.get(text, text)
        return found.format(**values) if values else found


def chosen(cookie: str, accepted: str, fallback: str) -> str:
    """The language of a viewer: what was picked, else the first that the browser asks for (RFC 9110 section 12.5.4)."""
    if cookie in LANGUAGES:
        return cookie
    wishes = list[tuple[float, str]]()
    for part in accepted[:200].split(","):
        name, _, weight = part.strip().partition(";q=")
        try:
            wishes.append((-float(weight or 1), name.strip().lower().partition("-")[0]))
        except ValueError:
            continue
    return next((name for _, name in sorted(wishes, key=lambda one: one[0]) if name in LANGUAGES), fallback)
