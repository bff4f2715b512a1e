"""What the content of one message says: four views scored, fused, calibrated and explained."""

from __future__ import annotations

import zlib

import msgspec
import numpy as np
from msgspec import Struct

from penstock.judge.calibration import Fusion
from penstock.judge.features import BITS, VIEWS, Features, look
from penstock.judge.fingerprints import fingerprints
from penstock.judge.kinds import kind_of
from penstock.judge.linear import Linear
from penstock.judge.parsed import Parsed
from penstock.judge.shape import findings
from penstock.model import Envelope, Evidence, Verdict

FORMAT = "penstock-content-1"
SHARES = {"text": 0.6, "words": 0.42, "shape": 0.15, "local": 2.5}
"""What a nat of each view's margin counts before verdicts say otherwise: structure transfers worst and is surest of
itself; the wire form starts with no weights at all, and what it has learnt here is the best there is."""
MAX_TERMS = 6
"""Words, and facts, told of a message whose content speaks for abuse."""
MAX_TERMS_HARMLESS = 3
"""Of other mail: as many as a decision's line names."""
LEAST_NATS = 0.02
"""A term that says less is part of the remainder."""


class _Stored(Struct, frozen=True):
    format: str
    shares: dict[str, float]
    base: float
    tables: dict[str, bytes]
    """Weights as half-precision floats, little-endian, compressed by zlib."""


class ContentModel:
    """Linear scorers, one a view, and their fusion. Learns online; not for use by several threads at once."""

    def __init__(self, scorers: dict[str, Linear], fusion: Fusion) -> None:
        self._scorers = scorers
        self._fusion = fusion
        self._seen: tuple[Parsed, Features] | None = None
        # A view that has learnt nothing says nothing, so that nobody need look at it.
        self._told = tuple(view for view in VIEWS if scorers[view].weights.any())

    @classmethod
    def blank(cls) -> ContentModel:
        """A model that has learnt nothing."""
        return cls({view: Linear.blank(BITS[view]) for view in VIEWS}, Fusion(list(SHARES.values())))

    @classmethod
    def from_bytes(cls, data: bytes) -> ContentModel:
        """Read what `to_bytes` wrote. Raises ValueError where it is not that."""
        try:
            stored = msgspec.msgpack.decode(data, type=_Stored)
            if stored.format != FORMAT:
                raise ValueError(f'content weights have format "{stored.format}"; this version reads "{FORMAT}"')
            scorers = {view: Linear(_unpack(stored.tables[view], 1 << BITS[view])) for view in VIEWS}
            shares = [stored.shares[view] for view in VIEWS]
        except (msgspec.DecodeError, KeyError, zlib.error) as fault:
            raise ValueError(f"these are no content weights of Penstock: {fault}") from fault
        return cls(scorers, Fusion(shares, stored.base))

    def to_bytes(self) -> bytes:
        """All that has been learnt; the same model gives the same bytes."""
        tables = {view: zlib.compress(self._scorers[view].weights.astype("<f2").tobytes(), 9) for view in VIEWS}
        shares = dict(zip(VIEWS, self._fusion.shares, strict=True))
        return msgspec.msgpack.encode(_Stored(FORMAT, shares, self._fusion.base, tables))

    def weigh(self, parsed: Parsed, raw: bytes, envelope: Envelope) -> Verdict:
        """Judge one message by what it says; deterministic, and nothing is learnt."""
        seen = self._look(parsed, raw, self._told)
        margins = self._margins(seen)
        log_odds = self._fusion.log_odds(margins)
        return Verdict(
            log_odds,
            kind_of(parsed, envelope),
            (*parsed.anomalies, *findings(seen.shape)),
            self._explain(seen, margins, log_odds),
            fingerprints(parsed, seen.words),
        )

    def learn(self, parsed: Parsed, raw: bytes, envelope: Envelope, is_abuse: bool) -> bool:
        """One bounded step towards the truth about a message. Returns whether any scorer moved."""
        seen = self._look(parsed, raw, VIEWS)
        margins = self._margins(seen)
        self._told = VIEWS
        self._fusion.learn(margins, is_abuse)
        moved = [
            self._scorers[view].learn(seen.slots[view], margin, is_abuse)
            for view, margin in zip(VIEWS, margins, strict=True)
        ]
        return any(moved)

    def margins(self, parsed: Parsed, raw: bytes) -> tuple[float, ...]:
        """What each view says by itself, in the order of VIEWS."""
        return self._margins(self._look(parsed, raw, self._told))

    def _margins(self, seen: Features) -> tuple[float, ...]:
        return tuple(self._scorers[view].margin(seen.slots[view]) if view in seen.slots else 0.0 for view in VIEWS)

    def _look(self, parsed: Parsed, raw: bytes, views: tuple[str, ...]) -> Features:
        last = self._seen
        if last is not None and last[0] is parsed and all(view in last[1].slots for view in views):
            return last[1]
        # Nothing but what was looked at here is returned: a huge message is judged in a thread beside others.
        seen = look(parsed, raw, views)
        self._seen = (parsed, seen)
        return seen

    def _explain(self, seen: Features, margins: tuple[float, ...], log_odds: float) -> tuple[Evidence, ...]:
        """The strongest words and facts, then what letters, the wire form and all the rest add up to."""
        shares = dict(zip(VIEWS, self._fusion.shares, strict=True))
        parts = dict(zip(VIEWS, margins, strict=True))
        most = MAX_TERMS if log_odds > 0 else MAX_TERMS_HARMLESS
        terms = self._words(seen, shares["words"], most) + self._facts(seen, shares["shape"], most)
        terms.sort(key=lambda term: -abs(term.nats))
        for view, name in (("text", "letters"), ("local", "wire-form")):
            if abs(shares[view] * parts[view]) >= LEAST_NATS:
                terms.append(Evidence(name, shares[view] * parts[view], group="content"))
        rest = log_odds - sum(term.nats for term in terms)
        return (*terms, Evidence("rest", rest, group="content"))

    def _words(self, seen: Features, share: float, terms: int) -> list[Evidence]:
        count = len(seen.words)
        if not count:
            return []
        weights = self._scorers["words"].weights.take(seen.own)
        scale = share / float(np.sqrt(seen.slots["words"].size))
        strength = np.abs(weights)
        most = min(4 * terms, weights.size)
        strongest = np.argpartition(strength, weights.size - most)[-most:]
        told: dict[str, Evidence] = {}
        for at in strongest[np.argsort(-strength[strongest])].tolist():
            nats = float(weights[at]) * scale
            if abs(nats) < LEAST_NATS or len(told) == terms:
                break
            name = f"word:{seen.words.phrase(at, 1) if at < count else seen.words.phrase(at - count, 2)}"
            told.setdefault(name, Evidence(name, nats, group="content"))
        return list(told.values())

    def _facts(self, seen: Features, share: float, most: int) -> list[Evidence]:
        scale = share / float(np.sqrt(max(1, seen.slots["shape"].size)))
        weights = self._scorers["shape"].weights.take(seen.facts).tolist()
        told: dict[int, tuple[str, float]] = {}
        for slot, token, weight in zip(seen.facts.tolist(), seen.shape, weights, strict=True):
            told.setdefault(slot, (token, weight * scale))
        strong = sorted((one for one in told.values() if abs(one[1]) >= LEAST_NATS), key=lambda one: -abs(one[1]))
        return [Evidence(name, nats, group="content") for name, nats in strong[:most]]


def _unpack(table: bytes, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(table, size * 2 + 1)
    if len(plain) != size * 2:
        raise ValueError("content weights have a table of the wrong size")
    weights = np.frombuffer(plain, dtype="<f2").astype(np.float32)
    if not np.isfinite(weights).all():
        raise ValueError("content weights have a table with values that are no numbers")
    return weights
