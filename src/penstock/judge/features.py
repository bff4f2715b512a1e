"""What the content scorers look at: four views of a message, each a set of slots in a table of weights.

`text` is byte 4-grams of the new text, `words` its words and pairs, `shape` facts of structure, links and
attachments. `local` is the message as it goes over the wire; its weights start at nothing and are learnt from a
provider's own verdicts alone, because wire forms of other years and places would only mislead. A message seen by a
receiver carries lines that an outgoing one does not yet have (Received, list and delivery fields, verdicts of
filters); no view looks at those.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from penstock.judge.linear import Slots
from penstock.judge.parsed import Parsed
from penstock.judge.shape import shape_tokens

VIEWS = ("text", "words", "shape", "local")
BITS = {"text": 20, "words": 20, "shape": 14, "local": 20}
"""Each view's table has two to this power weights."""
TEXT_BYTES = 3000
"""Of the folded text, as the leading entries of the TREC spam track looked at; blasts say what they want early."""
WORD_BYTES = 6000
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
_WORD_TABLE = bytes(
    ord("0") if 48 <= c <= 57 else c + 32 if 65 <= c <= 90 else c if 97 <= c <= 122 or c >= 128 or c in b"$'" else 32
    for c in range(256)
)
_MULTIPLY = np.uint32(0x9E3779B1)
_LETTERS = (np.arange(1, 257, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(0xD6E8FEB86659FD93)
_PLACES = np.array([pow(0x100000001B3, k, 1 << 64) for k in range(64)], dtype=np.uint64)
_PAIR = np.uint64(0xC2B2AE3D27D4EB4F)
_SKIP = np.uint64(0x165667B19E3779F9)
_IN_SUBJECT = np.uint64(0xA0761D6478BD642F)


class Features(Struct, frozen=True):
    """The slots of one message, by view, sorted and without doubles; words and facts can be told back as text."""

    slots: dict[str, Slots]
    words: list[bytes]
    """Folded, in order, the subject's first."""
    own: Slots
    """Slots in `words` of each word, then of each pair of neighbours."""
    shape: tuple[str, ...]


@lru_cache(4096)
def is_outgoing(name: str) -> bool:
    """Whether an outgoing message may carry this header field (lower-case name) and its value says something."""
    return len(name) <= LONGEST_NAME and not _NOT_OUTGOING.fullmatch(name)


def look(parsed: Parsed, raw: bytes) -> Features:
    """All views of one message; deterministic, and bounded by the constants above."""
    subject = parsed.subject[:300]
    text = parsed.text[:WORD_BYTES]
    shape = shape_tokens(parsed)
    all_words, words, own = word_slots(subject, text)
    slots = {
        "text": _ngrams(_folded(f"{subject} \n {text}")[:TEXT_BYTES], BITS["text"]),
        "words": all_words,
        "shape": _distinct(np.array([shape_slot(token) for token in shape], dtype=np.uint32)),
        "local": _ngrams(_wire(parsed, raw), BITS["local"]),
    }
    return Features(slots, words, own, shape)


def _folded(text: str) -> bytes:
    return b" ".join(text.encode("utf-8", "replace").translate(_FOLD).split())


def _distinct(slots: Slots) -> Slots:
    slots.sort()
    keep = np.empty(slots.size, dtype=np.bool_)
    keep[:1] = True
    np.not_equal(slots[1:], slots[:-1], out=keep[1:])
    return slots[keep]


def _ngrams(data: bytes, bits: int) -> Slots:
    """Slots of the byte 4-grams of `data`."""
    if len(data) < 4:
        return np.empty(0, dtype=np.uint32)
    return _distinct((_fours(data) * _MULTIPLY) >> np.uint32(32 - bits))


def _fours(data: bytes) -> Slots:
    """The 4-grams as little-endian numbers, gathered from the four alignments."""
    size = len(data) - 3
    fours = np.empty(size, dtype="<u4")
    for start in range(4):
        part = fours[start::4]
        part[:] = np.frombuffer(data, dtype="<u4", count=part.size, offset=start) if part.size else 0
    return fours


def word_slots(subject: str, text: str) -> tuple[Slots, list[bytes], Slots]:
    """Slots of words and pairs, and for explanations the words in order with their own slots and their pairs'."""
    head = subject.encode("utf-8", "replace").translate(_WORD_TABLE).split()
    words = head + text.encode("utf-8", "replace")[:WORD_BYTES].translate(_WORD_TABLE).split()
    if not words:
        empty = np.empty(0, dtype=np.uint32)
        return empty, words, empty
    lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    starts = np.cumsum(lengths) - lengths
    flat = np.frombuffer(b"".join(words), dtype=np.uint8)
    places = np.arange(flat.size) - np.repeat(starts, lengths)
    hashes = np.add.reduceat(_LETTERS[flat] * _PLACES[np.minimum(places, 63)], starts)
    first, second = hashes[:-1], hashes[1:]
    parts = [hashes, first * _PAIR + second, hashes[:-2] * _SKIP + hashes[2:], hashes[: len(head)] * _IN_SUBJECT]
    slots = _to_slots(np.concatenate(parts), BITS["words"])
    own = slots[: 2 * hashes.size - 1].copy()
    return _distinct(slots), words, own


def _to_slots(hashes: NDArray[np.uint64], bits: int) -> Slots:
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
