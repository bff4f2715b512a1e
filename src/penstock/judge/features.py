"""What the content scorers look at: four views of a message, each a set of slots in a table of weights.

`text` is byte 4-grams of the new text, `words` its words and pairs, `shape` facts of structure, links and
attachments. `local` is the message as it goes over the wire; its weights start at nothing and are learnt from a
provider's own verdicts alone, because wire forms of other years and places would only mislead. A message seen by a
receiver carries lines that an outgoing one does not yet have (Received, list and delivery fields, verdicts of
filters); no view looks at those.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

import numpy as np
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from penstock.judge.linear import Slots
from penstock.judge.parsed import Parsed
from penstock.judge.shape import shape_tokens
from penstock.judge.words import MAX_BYTES, Hashes, Words, words_of

VIEWS = ("text", "words", "shape", "local")
BITS = {"text": 20, "words": 20, "shape": 14, "local": 20}
"""Each view's table has two to this power weights."""
TEXT_BYTES = 3000
"""Of the folded text, as the leading entries of the TREC spam track looked at; blasts say what they want early."""
LOCAL_HEADER_BYTES = 1200
LOCAL_BODY_BYTES = 2500
LONGEST_NAME = 70
"""Of a header field that is looked at."""

_NOT_OUTGOING = re.compile(
    r"received|return-path|delivered-to|delivery-date|envelope-to|errors-to|lines|status|content-length|date|"
    r"authentication-results|dkim-.*|domainkey-.*|arc-.*|list-.*|mailing-list|archived-at|precedence|approved|bcc|"
    r"old-.*|resent-.*|x-.*(?:spam|virus|scan|list|loop|been|mailman|original-to|received|bogosity|uid|status|forw|"
    r"keywords|folder|origin|filename|pyzor|razor|hops|delivered|envelope|google|gm-|yahoo|amavis|dspam|crm114).*|"
    r"x-(?:from|to|cc|bcc|date|evolution.*|mozilla.*|sieve|authentication.*|sender|rbl.*)|sender|.*antispam.*|"
    r"received-spf|x-ms-.*|x-exchange.*|x-forefront.*|x-egroups.*|x-rcpt.*|in-reply-to|references|x-text.*|x-label|x-tm.*"
)
"""Names (whole) of header fields that an outgoing message does not carry yet, that only tell when it was sent, or that
stem from a receiver; `In-Reply-To` and `References` count as a fact in `shape`, their values say nothing."""

_FOLD = bytes.maketrans(
    bytes(range(65, 91)) + b"0123456789\t\r\n\f\v", bytes(range(97, 123)) + b"0000000000" + b"     "
)
_MULTIPLY = np.uint32(0x9E3779B1)
_PAIR = np.uint64(0xC2B2AE3D27D4EB4F)
_SKIP = np.uint64(0x165667B19E3779F9)
_IN_SUBJECT = np.uint64(0xA0761D6478BD642F)


class Features(Struct, frozen=True):
    """The slots of one message, by view, sorted and without doubles; words and facts can be told back as text."""

    slots: dict[str, Slots]
    words: Words
    own: Slots
    """Slots in `words` of each word, then of each pair of neighbours."""
    shape: tuple[str, ...]
    facts: Slots
    """The slot of each token of `shape`."""


@lru_cache(4096)
def is_outgoing(name: str) -> bool:
    """Whether an outgoing message may carry this header field (lower-case name) and its value says something."""
    return len(name) <= LONGEST_NAME and not _NOT_OUTGOING.fullmatch(name)


def look(parsed: Parsed, raw: bytes, views: Collection[str] = VIEWS) -> Features:
    """These views of one message; deterministic, and bounded by the constants above."""
    shape = shape_tokens(parsed)
    facts = np.array([shape_slot(token) for token in shape], dtype=np.uint32)
    words = words_of(parsed.subject, parsed.text)
    told = _word_slots(words)
    slots = {"words": _distinct(told), "shape": _distinct(facts)}
    if "text" in views:
        slots["text"] = _ngrams(_beginning(parsed), BITS["text"])
    if "local" in views:
        slots["local"] = _ngrams(_wire(parsed, raw), BITS["local"])
    return Features(slots, words, told[: max(0, 2 * len(words) - 1)], shape, facts)


def _beginning(parsed: Parsed) -> bytes:
    """The folded beginning of subject and text. Blanks fold, so first a little more is read, then all if need be."""
    for most in (TEXT_BYTES + 300, MAX_BYTES):
        folded = _folded(f"{parsed.subject[:300]} \n {parsed.text[:most]}")
        if len(folded) >= TEXT_BYTES or len(parsed.text) <= most:
            break
    return folded[:TEXT_BYTES]


def _folded(text: str) -> bytes:
    folded = text.encode("utf-8", "replace").translate(_FOLD).strip()
    while b"  " in folded:
        folded = folded.replace(b"  ", b" ")
    return folded


def _distinct(slots: Slots) -> Slots:
    slots = np.sort(slots)
    keep = np.empty(slots.size, dtype=np.bool_)
    keep[:1] = True
    np.not_equal(slots[1:], slots[:-1], out=keep[1:])
    return slots[keep]


def _ngrams(data: bytes, bits: int) -> Slots:
    """Slots of the byte 4-grams of `data`, read as little-endian numbers that overlap."""
    if len(data) < 4:
        return np.empty(0, dtype=np.uint32)
    fours: Slots = np.ndarray((len(data) - 3,), dtype="<u4", buffer=data, strides=(1,))
    return _distinct((fours * _MULTIPLY) >> np.uint32(32 - bits))


def _word_slots(words: Words) -> Slots:
    """Slots of words, of pairs, of pairs with a word between, and of the subject's words once more as the subject's."""
    hashes = words.hashes
    first, second = hashes[:-1], hashes[1:]
    pairs = first * _PAIR + second
    return _to_slots(
        np.concatenate([hashes, pairs, hashes[:-2] * _SKIP + hashes[2:], hashes[: words.in_subject] * _IN_SUBJECT]),
        BITS["words"],
    )


def _to_slots(hashes: Hashes, bits: int) -> Slots:
    hashes ^= hashes >> np.uint64(29)
    return ((hashes * _PAIR) >> np.uint64(64 - bits)).astype(np.uint32)


@lru_cache(16384)
def shape_slot(token: str) -> int:
    """The slot of one structural fact."""
    return xxh3_64_intdigest(token.encode()) >> (64 - BITS["shape"])


def _wire(parsed: Parsed, raw: bytes) -> bytes:
    """What goes over the wire: fields that an outgoing message has, where links lead, and the start of the body."""
    fields = "\n".join(f"{name}:{value}" for name, value in parsed.headers if is_outgoing(name))
    hosts = " ".join(dict.fromkeys(link.url[:80] for link in parsed.links[:10]))
    end = min(at for at in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n"), len(raw)) if at >= 0)
    body = raw[end : end + LOCAL_BODY_BYTES]
    return fields.encode("utf-8", "replace")[:LOCAL_HEADER_BYTES] + b"\n" + hosts.encode("utf-8", "replace") + body
