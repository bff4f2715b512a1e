"""Building the content weights that ship: from a folder of labelled corpora, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from msgspec import Struct

from penstock.evaluation.corpus import SOURCES, read_samples
from penstock.evaluation.owners import Half
from penstock.judge.calibration import Fusion
from penstock.judge.content import ContentModel
from penstock.judge.features import BITS, look
from penstock.judge.linear import Linear, Slots, probability
from penstock.judge.message import parse

SEED_VIEWS = ("text", "words", "shape")
"""What wording and structure teach holds elsewhere too; the wire form of other years and places would mislead."""
SEED_SHARES = (0.6, 0.4, 0.2)
"""What these views count beside each other, before calibration: structure transfers worst and is surest of itself."""
MOST_BASE = 0.0
"""Mail unlike anything learnt is not accused, whatever would be fair on the corpora: unknown languages are no abuse."""
LOCAL_SHARE = 2.5
"""What the wire form counts once a provider's own verdicts have taught it."""
ROUNDS = 3
RATE = 3.0
SOURCE_RATE = 0.02
"""Each corpus has an offset of its own while learning, so that its share of abuse, or having none, teaches nothing."""

Progress = Callable[[str], None]


class Row(Struct, frozen=True):
    """One message as training sees it."""

    source: str
    slots: dict[str, Slots]
    is_abuse: bool


def train(
    folder: Path, *, progress: Progress = print, sources: tuple[str, ...] = SOURCES, half: Half = "all"
) -> ContentModel:
    """Learn the seed weights from the corpora in `folder`; deterministic.

    Calibrated on predictions of each corpus by what was learnt from the others, because mail in service is of
    another time and place too. Raises FileNotFoundError where a corpus is missing, ValueError where labels are.
    """
    rows = []
    for sample in read_samples(folder, sources, half):
        seen = look(parse(sample.raw), sample.raw, SEED_VIEWS)
        rows.append(Row(sample.source, {view: seen.slots[view] for view in SEED_VIEWS}, sample.is_abuse))
        if len(rows) % 5000 == 0:
            progress(f"{len(rows)} messages read")
    return learn_rows(rows, progress=progress)


def learn_rows(rows: list[Row], *, progress: Progress = print) -> ContentModel:
    """Train every view on all rows and calibrate their fusion. Raises ValueError where a label is missing."""
    progress(f"learning from {len(rows)} messages")
    fusion = _calibrated(rows, progress)
    scorers = {**_scorers(rows), "local": Linear.blank(BITS["local"])}
    return ContentModel(scorers, Fusion((*fusion.shares, LOCAL_SHARE), fusion.base))


def _two_sided(rows: list[Row]) -> list[str]:
    sources = dict.fromkeys(row.source for row in rows)
    return [source for source in sources if len({row.is_abuse for row in rows if row.source == source}) == 2]


def _calibrated(rows: list[Row], progress: Progress) -> Fusion:
    """A fusion fitted on corpora left out in turn; where only one has both labels, its second half is left out."""
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
    fitted = Fusion.fit(np.array(sums), np.array(labels, dtype=np.bool_))
    return Fusion([share * fitted.shares[0] for share in SEED_SHARES], min(MOST_BASE, fitted.base))


def _sum(scorers: dict[str, Linear], row: Row) -> float:
    return sum(
        share * scorers[view].margin(row.slots[view]) for view, share in zip(SEED_VIEWS, SEED_SHARES, strict=True)
    )


def _scorers(rows: list[Row]) -> dict[str, Linear]:
    scorers = {view: Linear.blank(BITS[view]) for view in SEED_VIEWS}
    offsets = {(view, row.source): 0.0 for row in rows for view in SEED_VIEWS}
    order = list(range(len(rows)))
    shuffle = Random(1)  # noqa: S311 - a fixed seed is the point
    for _ in range(ROUNDS):
        shuffle.shuffle(order)
        for at in order:
            row = rows[at]
            for view, scorer in scorers.items():
                slots = row.slots[view]
                margin = scorer.margin(slots) + offsets[view, row.source]
                scorer.learn(slots, margin, row.is_abuse, RATE)
                offsets[view, row.source] += SOURCE_RATE * (row.is_abuse - probability(margin))
    return scorers
