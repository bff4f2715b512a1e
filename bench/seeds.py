"""Judging of accounts on traces of several seeds: one seed's campaigns and hard negatives are few, and one is luck.

Each seed draws other owners' weeks, victims, campaigns and hard negatives out of one half of the corpus; content
weights are learnt from the other half. Prints each figure by seed, and the false alarms of all seeds together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from penstock.cli.report import BURN_IN_DAYS, WANTED, tell
from penstock.config import Settings
from penstock.evaluation import accounts
from penstock.evaluation import train as training
from penstock.evaluation.accounts import AccountsReport, AttackReport, Rate, rate
from penstock.evaluation.corpus import corpus_folder
from penstock.evaluation.make_trace import make_trace
from penstock.evaluation.owners import Half, Mail, read_corpus
from penstock.evaluation.trace import Trace
from penstock.evaluation.trial import Trial
from penstock.judge.content import ContentModel
from penstock.shipped import load_replies

_HALVES: dict[str, Half] = {"tune": "report", "report": "tune"}
_COLUMNS: tuple[tuple[str, Callable[[AttackReport], str]], ...] = (
    ("contained %", lambda one: f"{100 * one.contained_share:.0f}"),
    ("leak, median", lambda one: f"{one.leaked_messages.median:g}"),
    ("leak, p95", lambda one: f"{one.leaked_messages.p95:g}"),
    ("suspended %", lambda one: f"{100 * one.suspended_share:.0f}"),
    ("leak / bound", lambda one: "-" if one.leak_to_bound is None else f"{one.leak_to_bound:.2f}"),
)


def judged(mail: Mail, model: bytes, seed: int) -> AccountsReport:
    """The report of one seed's trace."""
    with tempfile.TemporaryDirectory(prefix="penstock-seed-") as name:
        folder = Path(name) / "trace"
        make_trace(mail, folder, replace(WANTED, seed=seed))
        trial = Trial(ContentModel.from_bytes(model), Settings(), load_replies().reason_of)
        wanted = accounts.evaluate(
            Trace(folder), trial, name=f"seed {seed}", threshold_nats=trial.policy.hold, burn_in_days=BURN_IN_DAYS
        )
        return asyncio.run(wanted)


def table(reports: Sequence[AccountsReport]) -> str:
    """Attack models by seed, then the false alarms of all of them."""
    lines = ["| model | " + " | ".join(name for name, _ in _COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for model in reports[0].attacks:
        cells = (" / ".join(figure(one.attacks[model]) for one in reports) for _, figure in _COLUMNS)
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    owners = [one.owners["all"] for one in reports]
    years, messages = sum(one.account_years for one in owners), sum(one.messages for one in owners)
    late = sum(one.delayed_or_refused_per_10000 * one.messages for one in owners) / messages
    each = " / ".join(f"{one.delayed_or_refused_per_10000:.1f}" for one in owners)
    lines += [
        "",
        f"{years:.1f} account-years of owners, {messages} messages:",
        "",
        f"* false suspensions per account-year {_pooled([one.false_suspensions for one in owners], years)}",
        f"* false holds per account-year {_pooled([one.false_holds for one in owners], years)}",
        f"* late or refused per 10,000 messages {late:.1f} (by seed {each})",
    ]
    return "\n".join(lines) + "\n"


def _pooled(rates: Sequence[Rate], years: float) -> str:
    all_of_them = rate(sum(one.count for one in rates), years)
    each = " / ".join(f"{one.count}" for one in rates)
    interval = f"{all_of_them.low:.2g}-{all_of_them.high:.2g}"
    return f"{all_of_them.per_account_year:.3g} (95 % {interval}; by seed {each})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=sorted(_HALVES), default="report", help="whose owners and campaigns")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N")
    parser.add_argument("--json", action="store_true", help="every figure of every seed")
    wanted = parser.parse_args()
    corpus = corpus_folder()
    half: Half = wanted.half
    tell("weights from the other half")
    model = training.train(corpus, half=_HALVES[half], progress=tell).to_bytes()
    mail = read_corpus(corpus, days=WANTED.days, half=half)
    tell(f"traces of seeds {', '.join(map(str, wanted.seeds))}")
    with ProcessPoolExecutor(max_workers=2) as workers:
        reports = list(workers.map(partial(judged, mail, model), wanted.seeds))
    if wanted.json:
        print(json.dumps(msgspec.to_builtins(reports)))
    else:
        print(table(reports))


if __name__ == "__main__":
    main()
