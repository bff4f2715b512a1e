"""The words of a message, each as a number: told apart in one pass, for content scores and campaign keys alike.

The hash of a word is a polynomial over its letters, so that those of all words come out of one sum over the text.
Beyond the first few dozen letters of a word, place no longer counts; such words are rare and added up by themselves.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

MAX_BYTES = 6000
"""Of the text."""
MAX_SUBJECT_CHARS = 300
Hashes = NDArray[np.uint64]

_TABLE = bytes(
    ord("0") if 48 <= c <= 57 else c + 32 if 65 <= c <= 90 else c if 97 <= c <= 122 or c >= 128 or c in b"$'" else 32
    for c in range(256)
)
_BLANK = 32
_PLACED = 64
"""Letters of a word whose place counts."""
_BASE = 0x100000001B3
_MOST = 1 + 4 * MAX_SUBJECT_CHARS + 1 + MAX_BYTES + 1
_LETTERS = (np.arange(1, 257, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(0xD6E8FEB86659FD93)
_LETTERS[_BLANK] = 0


def _powers(base: int, count: int) -> Hashes:
    powers, last = np.empty(count, dtype=np.uint64), 1
    for place in range(count):
        powers[place] = last
        last = last * base & 0xFFFFFFFFFFFFFFFF
    return powers


_UP = _powers(_BASE, _MOST)
_DOWN = _powers(pow(_BASE, -1, 1 << 64), _MOST)


class Words(Struct, frozen=True):
    """The words of a subject and a text, in order; the arrays have one entry a word."""

    raw: bytes
    """What was read: a blank, the subject, a line end, the text's beginning, a blank."""
    folded: bytes
    """The same with capitals made small, each digit a 0, and a blank wherever no word is."""
    starts: NDArray[np.intp]
    """Where each word starts in `raw` and `folded`."""
    ends: NDArray[np.intp]
    hashes: Hashes
    in_subject: int
    """How many of them are the subject's."""

    def __len__(self) -> int:
        return int(self.hashes.size)

    def phrase(self, first: int, count: int) -> str:
        """So many words as text, folded, at most 60 characters."""
        spans = [(int(self.starts[at]), int(self.ends[at])) for at in range(first, first + count)]
        return b" ".join([self.folded[start:end] for start, end in spans]).decode("utf-8", "replace")[:60]


def words_of(subject: str, text: str) -> Words:
    """Tell words apart; linear in the text, of which no more than `MAX_BYTES` are looked at."""
    head = subject[:MAX_SUBJECT_CHARS].encode("utf-8", "replace")
    raw = b" %b\n%b " % (head, text[:MAX_BYTES].encode("utf-8", "replace")[:MAX_BYTES])
    folded = raw.translate(_TABLE)
    letters = np.frombuffer(folded, dtype=np.uint8)
    is_blank = letters == _BLANK
    edges = np.flatnonzero(is_blank[1:] != is_blank[:-1]) + 1
    starts, ends = edges[::2].copy(), edges[1::2].copy()
    if not starts.size:
        return Words(raw, folded, starts, ends, np.empty(0, dtype=np.uint64), 0)
    # Blanks are nothing, so the sum up to a word's end, less that up to the end before, is the word's own.
    sums = np.cumsum(_LETTERS.take(letters) * _UP[: letters.size]).take(ends)
    sums[1:] -= sums[:-1].copy()
    hashes = sums * _DOWN.take(starts)
    is_long = ends - starts > _PLACED
    if is_long.any():
        hashes[is_long] = _long(letters, starts[is_long], ends[is_long])
    return Words(raw, folded, starts, ends, hashes, int(np.searchsorted(starts, len(head) + 1)))


def _long(letters: NDArray[np.uint8], starts: NDArray[np.intp], ends: NDArray[np.intp]) -> Hashes:
    """Hashes of words so long that place no longer counts at their ends."""
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)
    values = _LETTERS.take(letters.take(places + np.repeat(starts, lengths)))
    hashes: Hashes = np.add.reduceat(values * _UP.take(np.minimum(places, _PLACED - 1)), firsts)
    return hashes
