"""What a correction remembers of a message: hashes of what its siblings share and strangers do not.

Two sets. Runs of three words, short ones left out, because half of all mail shares the joints of the language and a
correction must not move mail that has nothing to do with it. Facts: where links lead, which program wrote it, which
list it belongs to, which files hang on it; never who it says it is from, since a hijacker writes in the owner's name.
Only the smallest hashes are kept, so that two messages' samples meet in the share in which the messages do.
"""

from __future__ import annotations

import re
import zlib
from itertools import chain

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from penstock.judge.fingerprints import link_keys
from penstock.judge.parsed import Parsed

Slots = NDArray[np.uint32]

FORMAT = 1
"""Another number when the same message would give other hashes; examples of another format are not learnt from."""
BITS = 22
MOST_RUNS = 384
MOST_FACTS = 48
FEWEST = 6
"""Hashes in all; a message with fewer says too little to be known again by."""
RUN_LETTERS = 14
MAX_CHARS = 8000
_MOST_PACKED = 8 * (MOST_RUNS + MOST_FACTS)
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]|\d+|[^\W\d_]+")
_DENSE_FROM = "\u0e00"
"""Scripts from here on that say with one sign what others say with about six letters."""
_FIRST, _SECOND, _MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD], np.uint64)


class Traits(Struct, frozen=True):
    """The traits of one message, each set sorted and without doubles."""

    runs: Slots
    facts: Slots

    def __len__(self) -> int:
        return int(self.runs.size + self.facts.size)

    def pack(self) -> bytes:
        """As kept beside an example; about a kilobyte."""
        both = np.concatenate([[self.runs.size], self.runs, self.facts]).astype("<u4")
        return zlib.compress(both.tobytes(), 6)

    @classmethod
    def unpack(cls, data: bytes) -> Traits:
        """Read what `pack` wrote. Raises ValueError where it is not that."""
        try:
            plain = zlib.decompressobj().decompress(data, _MOST_PACKED)
        except zlib.error as fault:
            raise ValueError(f"these are no traits: {fault}") from fault
        both = np.frombuffer(plain[: len(plain) // 4 * 4], "<u4").astype(np.uint32)
        if not both.size or both[0] >= both.size or (both[1:] >= 1 << BITS).any():
            raise ValueError("these are no traits of this version")
        return cls(both[1 : both[0] + 1], both[both[0] + 1 :])

    @property
    def digest(self) -> str:
        """The same for messages that say the same, whatever their ids and dates."""
        return xxh3_64_hexdigest(self.runs.tobytes() + b"|" + self.facts.tobytes())


def traits(parsed: Parsed) -> Traits:
    """The traits of one message; deterministic and bounded."""
    facts = [xxh3_64_intdigest(one.encode("utf-8", "surrogatepass")) for one in _facts(parsed)]
    return Traits(_slots(_runs(f"{parsed.subject}\n{parsed.text[:MAX_CHARS]}")), _slots(np.array(facts, np.uint64)))


def _slots(hashes: NDArray[np.uint64]) -> Slots:
    return np.unique((hashes >> np.uint64(64 - BITS)).astype(np.uint32))


def _runs(text: str) -> NDArray[np.uint64]:
    """The smallest hashes of runs of three words; numbers are all alike."""
    words = ["0" if word.isdigit() else word for word in _WORD.findall(text.lower())]
    if len(words) < 3:
        return np.empty(0, np.uint64)
    known = {word: xxh3_64_intdigest(word.encode("utf-8", "surrogatepass")) for word in set(words)}
    single = np.array([known[word] for word in words], np.uint64)
    letters = np.array([6 if len(word) == 1 and word >= _DENSE_FROM else len(word) for word in words])
    runs = (single[:-2] * _FIRST + single[1:-1]) * _SECOND + single[2:]
    runs = runs[letters[:-2] + letters[1:-1] + letters[2:] >= RUN_LETTERS]
    runs ^= runs >> np.uint64(31)
    runs = np.unique(runs * _MIX)
    # Which are kept must not decide where they lie in a table, so the order is that of the low bits.
    return runs[np.argsort(runs << np.uint64(32), kind="stable")[:MOST_RUNS]]


def _facts(parsed: Parsed) -> list[str]:
    told = (("mailer", parsed.header("x-mailer")), ("list", parsed.header("list-id")))
    hosts = (f"host {one.host}" for one in parsed.links[:40] if one.host and not one.is_quoted)
    found = chain(
        (f"{name} {value[:80]}" for name, value in told if value),
        link_keys(parsed.links, parsed.from_address),
        (f"file {one.digest}" for one in parsed.attachments[:4] if one.digest),
        hosts,
    )
    return list(dict.fromkeys(found))[:MOST_FACTS]
