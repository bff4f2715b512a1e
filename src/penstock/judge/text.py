"""Text as it is meant to be read: disguises undone, and new text told apart from quotes and signatures."""

from __future__ import annotations

import re
import unicodedata

from msgspec import Struct

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e007f]"
)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_STYLED = re.compile("[\U0001d400-\U0001d7ff\uff01-\uff5e\u2460-\u24ff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LATIN = re.compile(r"[A-Za-z]")
_LOOKALIKE = re.compile("[\u0370-\u03ff\u0400-\u04ff\u0500-\u052f\u0131\u1d00-\u1d2b]")
_WORD = re.compile(r"[^\W\d_]{2,40}")
# Cyrillic, Greek and other letters that pass for Latin ones (a part of Unicode's confusables, UTS 39).
_LATIN_FOR = str.maketrans(
    "аеорсухіјѕԁһԛԝвкмнтгпАВЕКМНОРСТХІЈЅҮΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοινρυτκеɑɡı",
    "aeopcyxijsdhqwbkmhtrnABEKMHOPCTXIJSYABEZHIKMNOPTYXaoivputkeagi",
)
_SIGNATURE = re.compile(r"^(?:-- ?|__+|--+ ?)$")
_SENT_FROM = re.compile(
    r"^(?:sent from my|gesendet von|von meinem \w+ gesendet|get outlook for|envoyé de|enviado desde)", re.IGNORECASE
)
_WROTE = re.compile(
    r"^(?:on .{4,200}(?:wrote|writes):|am .{4,200}schrieb.{0,80}:|le .{4,200} a écrit ?:|el .{4,200}escribió:|"
    r".{1,120} <[^<>\s]{3,100}@[^<>\s]{3,100}> (?:wrote|writes|schrieb):|.{1,100} (?:wrote|writes|schrieb):)$",
    re.IGNORECASE,
)
_FORWARDED = re.compile(
    r"^[-_ ]{2,40}(?:original message|forwarded (?:message|by)|ursprüngliche nachricht|weitergeleitete nachricht|"
    r"originalnachricht|message d'origine|mensaje original|begin forwarded message)",
    re.IGNORECASE,
)
_HEADER_BLOCK = re.compile(r"^\*?(?:from|von|de):\*? .{2,200}$", re.IGNORECASE)
_HEADER_NEXT = re.compile(
    r"^\*?(?:sent|date|gesendet|datum|to|an|subject|betreff|envoyé|cc)(?:\*?:|:\*?) ?", re.IGNORECASE
)

_BEGINS = frozenset("-_*FfVvDdSsGgEeBb")
"""First letters of lines that may end new text: dashes, From, Von, De, Sent, Gesendet, Get, Envoyé, Begin, von …"""
_TELLING = _BEGINS | set(">|")
_CONTROLS = bytes((*range(9), 11, 12, *range(14, 32), 127))


class Split(Struct, frozen=True):
    """A plain text taken apart."""

    new: str
    quoted: str
    signature: str


def normalise(text: str) -> tuple[str, tuple[str, ...]]:
    """Text with disguises undone, and their names: invisible characters, bidirectional overrides, look-alike letters.

    Compatibility forms (full-width, mathematical letters, ligatures) become plain (Unicode NFKC); look-alikes of Latin
    letters are read as Latin inside words that also have Latin letters, never in words of their own script.
    """
    if text.isascii():
        return text.encode("ascii").translate(None, _CONTROLS).decode("ascii"), ()
    anomalies = []
    if _INVISIBLE.search(text):
        if _BIDI.search(text):
            anomalies.append("bidi-override")
        cleaned = _INVISIBLE.sub("", text)
        if len(text) - len(cleaned) > 3:
            anomalies.append("invisible-characters")
        text = cleaned
    plain = unicodedata.normalize("NFKC", text)
    if plain != text and len(_STYLED.findall(text)) > 5:
        anomalies.append("styled-letters")
    text = _CONTROL.sub("", plain)
    if _LOOKALIKE.search(text) and _LATIN.search(text):
        mixed = _WORD.sub(_read_latin, text)
        if mixed != text:
            anomalies.append("mixed-script-word")
            text = mixed
    return text, tuple(anomalies)


def split_reply(text: str) -> Split:
    """Take a plain text apart: new text, quotes (by `>`, by a line that introduces them), signature (RFC 3676 §4.3)."""
    new: list[str] = []
    quoted: list[str] = []
    signature: list[str] = []
    into, done = new, 0
    lines = text.split("\n")
    stripped = list(map(str.strip, lines))
    # Most lines change nothing, and their first or last letter tells so.
    for number in [at for at, line in enumerate(stripped) if line and (line[0] in _TELLING or line[-1] == ":")]:
        line = stripped[number]
        after, skipped = into, 1
        if line.startswith((">", "|>")):
            quoted_here = [line.lstrip(">| ")]
            after = new if into is signature else into
        elif into is quoted or not (line[0] in _BEGINS or line[-1] == ":"):
            continue
        elif _FORWARDED.match(line) or _is_header_block(stripped, number):
            quoted_here, after = [], quoted
        elif line[-1] == ":" and _WROTE.match(line) and _is_followed_by_quote(stripped, number):
            quoted_here = []
        elif into is new and _SIGNATURE.match(lines[number].rstrip("\r")):
            quoted_here, after = [], signature
        elif into is new and _SENT_FROM.match(line):
            quoted_here, after, skipped = [], signature, 0
        else:
            continue
        into += stripped[done:number]
        quoted += quoted_here
        into, done = after, number + skipped
    into += stripped[done:]
    return Split(*("\n".join(part).strip() for part in (new, quoted, signature)))


def _is_followed_by_quote(lines: list[str], number: int) -> bool:
    for line in lines[number + 1 : number + 4]:
        if line.strip():
            return line.lstrip().startswith((">", "|>"))
    return False


def _is_header_block(lines: list[str], number: int) -> bool:
    """Whether a forwarded message's own headers begin here: From: followed closely by Sent:, To:, Subject:."""
    if not _HEADER_BLOCK.match(lines[number].strip()):
        return False
    return sum(bool(_HEADER_NEXT.match(line.strip())) for line in lines[number + 1 : number + 5]) >= 2


def _read_latin(found: re.Match[str]) -> str:
    word = found[0]
    if word.isascii() or not (_LATIN.search(word) and _LOOKALIKE.search(word)):
        return word
    return word.translate(_LATIN_FOR)
