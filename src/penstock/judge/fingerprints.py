"""Campaign keys: what messages of one campaign share however their texts are varied, and other mail does not.

Texts meet by min-hash over shingles that never cross a sentence, so that shuffled sentences stay the same set: some
keys each sample one long shingle (random filler may come as much as it likes), others band two short ones (single
words may change anywhere). Links, reply addresses, phones, wallets and files are keys of their own, and
survive even another wording.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from penstock.judge.parsed import Link, Parsed
from penstock.judge.shape import FREEMAIL, SHORTENERS
from penstock.judge.words import Hashes, Words

MAX_KEYS = 12
LONG, LONG_KEYS = 6, 6
"""Words of a long shingle, and how many keys sample one each."""
SHORT, BANDS = 3, 3
"""Words of a short shingle, and how many keys band two samples each."""
FEWEST_WORDS = 5
"""A text of fewer says too little to be known again by."""
FEWEST_SHINGLES = 4
"""Of short shingles; a text of fewer is known as a whole only."""
MAX_LINK_KEYS = 2

_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_SENTENCE = re.compile(r"[.!?:;。！？](?=\s)|\n")
_WORD = re.compile(rf"{_UNSPACED.pattern}|\b[^\W\d_]+\b")
_BLANK, _END, _DIGIT = 1, 2, 4
_MARKS = bytes(
    _BLANK * (sign in " \t\r\n\v\f") | _END * (sign in ".!?:;\n") | _DIGIT * (sign in "0123456789")
    for sign in map(chr, range(256))
)
"""A sign of `_END` ends a sentence where one of `_BLANK` follows; a line end always does, being both."""
_NUMBER = re.compile(r"\d")
_RANDOM = re.compile(r"(?=[^/]*\d)[\w.~%=-]{8,}|[0-9a-f-]{12,}|[\w-]{24,}", re.IGNORECASE)
_HOSTING = frozenset(
    "google.com goo.gl googleapis.com googleusercontent.com appspot.com web.app firebaseapp.com page.link blogspot.com "
    "dropbox.com box.com onedrive.com live.com sharepoint.com windows.net azurewebsites.net office.com 1drv.ms "
    "amazonaws.com cloudfront.net github.io netlify.app vercel.app herokuapp.com pages.dev workers.dev r2.dev "
    "wixsite.com weebly.com wordpress.com sites.google.com typeform.com jotform.com telegra.ph t.me wa.me mega.nz "
    "wetransfer.com mediafire.com ipfs.io notion.site canva.com docusign.net".split()
)
"""Anyone may put pages there: such an address is known by its whole path or not at all."""
_EVERYWHERE = frozenset(
    "w3.org facebook.com twitter.com x.com youtube.com youtu.be linkedin.com instagram.com pinterest.com tiktok.com "
    "schema.org microsoft.com apple.com mozilla.org adobe.com xmlsoap.org gstatic.com example.com example.net "
    "aka.ms wikipedia.org yahoo.com hotmail.com outlook.com gmail.com".split()
)
"""Linked from half of all mail."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_RANGES = np.array([place * (1 << 64) // 6 for place in range(6)], dtype=np.uint64)
_STEP = np.uint64(0x100000001B3)


def fingerprints(parsed: Parsed, words: Words) -> tuple[str, ...]:
    """The keys of one message, whose words are `words`: strongest first, at most a dozen, without doubles."""
    keys = link_keys(parsed.links, parsed.from_address)
    reply = parsed.reply_to.lower()
    if reply and reply != parsed.from_address:
        keys.append(f"reply-to:{reply[:100]}")
    keys += [f"phone:{_digits(phone)}" for phone in parsed.phones[:1] if len(_digits(phone)) >= 8]
    keys += [f"wallet:{wallet[:100]}" for wallet in parsed.wallets[:1]]
    files = (one for one in parsed.attachments if one.digest and one.size_bytes > 512 and not one.is_inline)
    keys += [f"attachment:{one.digest}" for one, _ in zip(files, range(1), strict=False)]
    keys += text_keys(words)
    return tuple(dict.fromkeys(keys))[:MAX_KEYS]


def text_keys(words: Words) -> list[str]:
    """Keys by which near-copies of a text meet; none where it is too short."""
    hashes, sentences = _known_words(words)
    if hashes.size < FEWEST_WORDS:
        return []
    long, short = _shingles(hashes, sentences, LONG), _shingles(hashes, sentences, SHORT)
    if short.size < FEWEST_SHINGLES:
        return [f"text:w{xxh3_64_hexdigest(hashes.tobytes())}"]
    least = _least(short, 2 * BANDS)
    bands = [f"text:s{first ^ (second >> 1):016x}" for first, second in zip(least[::2], least[1::2], strict=True)]
    if long.size < LONG_KEYS:
        return bands
    return bands + [f"text:l{one:016x}" for one in _least(long, LONG_KEYS)]


def _known_words(words: Words) -> tuple[Hashes, NDArray[np.intp]]:
    """The words of letters alone, and the number of the sentence that each stands in.

    Words with digits in them are mostly numbers, codes and filler.
    """
    if not words.raw.isascii() and _UNSPACED.search(text := words.raw.decode("utf-8", "replace")):
        return _unspaced(text)
    if not words:
        return words.hashes, words.starts
    marks = np.frombuffer(words.raw.translate(_MARKS), dtype=np.uint8)
    before = marks[:-1]
    ends = (((before | marks[1:]) << 1) & before & _END != 0).nonzero()[0]
    is_first = np.zeros(len(words) + 1, dtype=np.bool_)
    is_first[words.starts.searchsorted(ends)] = True
    sentences: NDArray[np.intp] = np.cumsum(is_first[:-1])
    figures = (marks == _DIGIT).nonzero()[0]
    if not figures.size:
        return words.hashes, sentences
    is_known = np.ones(len(words), dtype=np.bool_)
    is_known[words.starts.searchsorted(figures, side="right") - 1] = False
    return words.hashes[is_known], sentences[is_known]


def _unspaced(text: str) -> tuple[Hashes, NDArray[np.intp]]:
    """The same of a script without blanks between words: its letters are the words."""
    hashes: list[int] = []
    sentences: list[int] = []
    for number, sentence in enumerate(_SENTENCE.split(text.lower())):
        found = _WORD.findall(sentence)
        hashes += map(_hash, found)
        sentences += [number] * len(found)
    return np.array(hashes, dtype=np.uint64), np.array(sentences, dtype=np.intp)


@lru_cache(maxsize=16384)
def _hash(word: str) -> int:
    """Letters come again and again; keeping theirs halves the cost."""
    return xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))


def _shingles(hashes: Hashes, sentences: NDArray[np.intp], size: int) -> Hashes:
    """Runs of `size` words that lie within one sentence, as numbers."""
    count = hashes.size - size + 1
    if count < 1:
        return hashes[:0]
    total = hashes[:count]
    for place in range(1, size):
        total = total * _STEP + hashes[place : place + count]
    within: Hashes = total[sentences[:count] == sentences[size - 1 :]]
    return within


def _least(shingles: Hashes, count: int) -> list[int]:
    """Min-hash by one permutation (Li, Owen and Zhang 2012): the least value in each of `count` ranges.

    An empty range borrows from the next, and the last ones from the first (Shrivastava and Li 2014).
    """
    mixed = (shingles ^ (shingles >> np.uint64(31))) * _MIX
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX
    mixed.sort()
    least: list[int] = mixed.take(mixed.searchsorted(_RANGES[:count]), mode="wrap").tolist()
    return least


def link_keys(links: tuple[Link, ...], from_address: str = "") -> list[str]:
    """Keys of where new text leads: domain and path template, parts that vary from copy to copy left out."""
    own = from_address.rpartition("@")[2]
    keys: dict[str, None] = {}
    for link in links:
        if (
            link.is_quoted
            or "." not in link.host.strip(".")
            or link.where in ("resource", "comment")
            or len(keys) >= MAX_LINK_KEYS
        ):
            continue
        if link.domain in _EVERYWHERE or (own and own.endswith(link.domain)):
            continue
        key = _link_key(link)
        if key:
            keys[key] = None
    return list(keys)


def _link_key(link: Link) -> str:
    try:
        address = urlsplit(link.url[:500])
    except ValueError:
        return f"url:{link.domain}"
    path = address.path.rstrip("/")
    if link.domain in _HOSTING or link.host in SHORTENERS or link.domain in FREEMAIL:
        host = link.host.removeprefix("www.")
        whole = f"{path}?{address.query}" if "id=" in address.query else path
        return f"url:{host}{whole[:100]}" if len(whole) > 3 or (host.count(".") > 1 and host != link.domain) else ""
    steps = ["*" if _RANDOM.fullmatch(step) else _NUMBER.sub("0", step.lower()) for step in path.split("/")[:6]]
    return f"url:{link.domain}{'/'.join(steps)[:100]}"


def _digits(phone: str) -> str:
    return "".join(char for char in phone if char.isdigit())[-9:]
