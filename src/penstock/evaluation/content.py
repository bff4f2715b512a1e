"""How well content alone tells abuse: a TREC-style stream is judged message by message, and optionally learnt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from msgspec import Struct

from penstock.evaluation.corpus import read_index
from penstock.evaluation.metrics import Figures, figures
from penstock.judge.content import ContentModel
from penstock.judge.features import is_outgoing
from penstock.judge.message import parse
from penstock.model import Envelope


class ContentReport(Struct, frozen=True):
    """Figures of one run, and how it was made."""

    online: bool
    outbound: bool
    figures: Figures
    ms_per_message: float
    """Of parsing, judging and, online, learning; reading files is not counted."""


def evaluate_content(
    index: Path,
    model: ContentModel,
    *,
    online: bool,
    outbound: bool = True,
    progress: Callable[[str], None] = print,
) -> ContentReport:
    """Judge the messages of a TREC index in its order; online, each label is learnt right after its prediction.

    `outbound` hides what an outgoing message does not carry yet: Received, delivery and list fields, and verdicts of
    other filters. The model is changed where `online`. Raises ValueError for a bad index, OSError for missing files.
    """
    return evaluate_stream(read_index(index), model, online=online, outbound=outbound, progress=progress)


def evaluate_stream(
    stream: Iterable[tuple[bool, bytes]],
    model: ContentModel,
    *,
    online: bool,
    outbound: bool = True,
    progress: Callable[[str], None] = print,
) -> ContentReport:
    """The same for any stream of (is abuse, raw message)."""
    scores: list[float] = []
    labels: list[bool] = []
    spent = 0.0
    for is_abuse, received in stream:
        raw = outgoing(received) if outbound else received
        began = time.perf_counter()
        parsed = parse(raw)
        envelope = Envelope(parsed.from_address, parsed.to)
        scores.append(model.weigh(parsed, raw, envelope).log_odds)
        if online:
            model.learn(parsed, raw, envelope, is_abuse)
        spent += time.perf_counter() - began
        labels.append(is_abuse)
        if len(labels) % 5000 == 0:
            progress(f"{len(labels)} messages")
    found = figures(np.array(scores), np.array(labels, dtype=np.bool_))
    return ContentReport(online, outbound, found, 1000 * spent / len(labels))


def outgoing(raw: bytes) -> bytes:
    """A received message without the header fields that it did not carry when it left its sender."""
    kept: list[bytes] = []
    keep = True
    lines = raw.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if not line.strip():
            return b"".join([*kept, *lines[number:]])
        if line[:1] not in b" \t":
            name = line.partition(b":")[0].strip().lower().decode("latin-1")
            keep = is_outgoing(name) and not line.startswith(b"From ")
        if keep:
            kept.append(line)
    return b"".join(kept)
