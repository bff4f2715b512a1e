"""Building the content weights that ship: from a folder of labelled corpora, the same bytes every time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from random import Random

import numpy as np
from msgspec import Struct

from penstock.evaluation.corpus import SOURCES, read_samples
from penstock.evaluation.occasions import SOURCE as WRITTEN
from penstock.evaluation.occasions import occasions
from penstock.evaluation.owners import Half
from penstock.judge.calibration import Fusion
from penstock.judge.content import SHARES, ContentModel
from penstock.judge.features import BITS, look
from penstock.judge.linear import NEAR, Linear, Slots, probability
from penstock.judge.message import parse

SEED_VIEWS = ("text", "words", "shape")
"""What wording and structure teach holds elsewhere too; the wire form of other years and places would mislead."""
MOST_BASE = 0.0
"""Mail unlike anything learnt is not accused, whatever would be fair on the corpora: unknown languages are no abuse."""
ROUNDS = 3
RATE = 3.0
DECAY = 0.02
"""What a weight loses at each step that touches it: what is common must be confirmed again and again, so that no word
of one place and time becomes sure of itself."""
SOURCE_RATE = 0.01
"""Each corpus has an offset of its own while learning, so that its share of abuse, or having none, teaches nothing."""
MOST_OF_A_GROUP = 30
"""Messages of one sender, or of one campaign, count together as at most so many."""
_NOTHING = np.empty(0, dtype=np.uint32)

Progress = Callable[[str], None]


class Row(Struct, frozen=True):
    """One message as training sees it."""

    source: str
    group: str
    """Its sender, or its campaign."""
    slots: dict[str, Slots]
    is_abuse: bool


def train(
    folder: Path, *, progress: Progress = print, sources: tuple[str, ...] = SOURCES, half: Half = "all"
) -> ContentModel:
    """Learn the seed weights from the corpora in `folder`; deterministic.

    Beside the corpora, letters of everyday occasions are learnt. Calibrated on predictions of each corpus by what was
    learnt from the others, because mail in service is of another time and place too. Raises FileNotFoundError where a
    corpus is missing, ValueError where labels are.
    """
    rows = []
    for sample in chain(read_samples(folder, sources, half), occasions()):
        seen = look(parse(sample.raw), sample.raw, SEED_VIEWS)
        taught = ("text", "words") if sample.source == WRITTEN else SEED_VIEWS
        slots = {view: seen.slots[view] if view in taught else _NOTHING for view in SEED_VIEWS}
        rows.append(Row(sample.source, sample.group, slots, sample.is_abuse))
        if len(rows) % 5000 == 0:
            progress(f"{len(rows)} messages read")
    return learn_rows(rows, progress=progress)


def learn_rows(rows: list[Row], *, progress: Progress = print) -> ContentModel:
    """Train every view on all rows and calibrate their fusion. Raises ValueError where a label is missing."""
    progress(f"learning from {len(rows)} messages")
    fitted = _calibrated(rows, progress)
    scorers = {**_scorers(rows), "local": Linear.blank(BITS["local"])}
    for view in SEED_VIEWS:
        # Calibrated in the weights and not in the shares, so that a verdict learnt later counts as much as any other.
        scorers[view].weights *= np.float32(fitted.shares[0])
    return ContentModel(scorers, Fusion(list(SHARES.values()), min(MOST_BASE, fitted.base)))


def _two_sided(rows: list[Row]) -> list[str]:
    sources = dict.fromkeys(row.source for row in rows if row.source != WRITTEN)
    return [source for source in sources if len({row.is_abuse for row in rows if row.source == source}) == 2]


def _calibrated(rows: list[Row], progress: Progress) -> Fusion:
    """One share of the views' sum, fitted on corpora left out in turn; on half of it where only one has both labels."""
    sums: list[list[float]] = []
    labels: list[bool] = []
    full = _two_sided(rows)
    if len(full) > 1:
        folds = [
            ([row for row in rows if row.source != one], [row for row in rows if row.source == one]) for one in full
        ]
    else:
        folds = [(rows[::2], rows[1::2])]
    for known, unseen in folds:
        scorers = _scorers(known)
        progress(f"calibrating on {len(unseen)} messages of {unseen[0].source if unseen else 'nothing'}")
        sums += [[_sum(scorers, row)] for row in unseen]
        labels += [row.is_abuse for row in unseen]
    return Fusion.fit(np.array(sums), np.array(labels, dtype=np.bool_))


def _sum(scorers: dict[str, Linear], row: Row) -> float:
    return sum(SHARES[view] * scorers[view].margin(row.slots[view]) for view in SEED_VIEWS)


def _scorers(rows: list[Row]) -> dict[str, Linear]:
    weights = row_weights(rows)
    order = list(range(len(rows)))
    shuffle = Random(1)  # noqa: S311 - a fixed seed is the point
    steps = []
    for _ in range(ROUNDS):
        shuffle.shuffle(order)
        steps += order
    return {view: _scorer(view, rows, weights, steps) for view in SEED_VIEWS}


def row_weights(rows: list[Row]) -> list[float]:
    """What each message counts: a group's no more than its limit, a label's of a corpus together what they number."""
    sizes = Counter((row.source, row.is_abuse, row.group) for row in rows)
    weights = [min(1.0, MOST_OF_A_GROUP / sizes[row.source, row.is_abuse, row.group]) for row in rows]
    numbers = Counter((row.source, row.is_abuse) for row in rows)
    totals = dict.fromkeys(numbers, 0.0)
    for row, weight in zip(rows, weights, strict=True):
        totals[row.source, row.is_abuse] += weight
    scales = {key: number / totals[key] for key, number in numbers.items()}
    return [weight * scales[row.source, row.is_abuse] for row, weight in zip(rows, weights, strict=True)]


def _scorer(view: str, rows: list[Row], row_weights: list[float], steps: list[int]) -> Linear:
    """One view's weights, each the mean over all steps: the last messages seen count no more than the first."""
    scorer = Linear.blank(BITS[view])
    weights, late = scorer.weights, np.zeros_like(scorer.weights)
    offsets = dict.fromkeys((row.source for row in rows), 0.0)
    for number, at in enumerate(steps):
        row = rows[at]
        slots = row.slots[view]
        if not slots.size:
            continue
        root = math.sqrt(slots.size)
        old = weights.take(slots)
        margin = float(old.sum()) / root + offsets[row.source]
        wrong = row.is_abuse - probability(margin)
        offsets[row.source] += SOURCE_RATE * wrong
        if (margin if row.is_abuse else -margin) > NEAR:
            continue
        change = np.float32(row_weights[at]) * (np.float32(RATE * wrong / root) - np.float32(DECAY) * old)
        weights[slots] = old + change
        late[slots] += change * np.float32(number / len(steps))
    weights -= late
    return scorer
