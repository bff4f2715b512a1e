"""penstock evaluate: how good is the judging, measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import err, fail, out, show_json, show_table
from penstock.cli.session import Json, run
from penstock.config import Settings, load_settings
from penstock.evaluation import accounts, tables
from penstock.evaluation.baselines import evaluate_baselines, read_scores, score_of_installed_rspamd
from penstock.evaluation.content import evaluate_content
from penstock.evaluation.corpus import corpus_folder
from penstock.evaluation.corrections import evaluate_corrections
from penstock.evaluation.make_trace import Wanted, make_trace
from penstock.evaluation.owners import read_corpus, read_mailboxes
from penstock.evaluation.rspamd import MISSING
from penstock.evaluation.trace import Trace
from penstock.evaluation.trial import Trial
from penstock.judge.content import ContentModel
from penstock.judge.message import parse
from penstock.model import Envelope, Submission
from penstock.shipped import load_model, load_replies

app = typer.Typer(no_args_is_help=True, help="Measure the judging.")
Folder = Annotated[Path, typer.Argument(metavar="TRACE", help="Folder with events.jsonl and the messages it names.")]
BurnIn = Annotated[float, typer.Option(help="Days at the beginning that no figure of owners counts.")]
Model = Annotated[Path | None, typer.Option(help="Weights; without it those that come with Penstock.")]
Given = Annotated[Path | None, typer.Option("--config", "-c", help="Budgets and other settings of judging.")]


def _model(file: Path | None) -> ContentModel:
    return ContentModel.from_bytes(file.read_bytes()) if file is not None else load_model(Settings())


def _tell(line: str) -> None:
    err.print(line, highlight=False)


@app.command()
def content(
    index: Annotated[Path, typer.Argument(help="Lines of `spam|ham path`, paths relative to the file (TREC).")],
    online: Annotated[bool, typer.Option("--online/--frozen", help="Learn each label after its prediction.")] = False,
    outbound: Annotated[bool, typer.Option("--outbound/--as-received", help="Hide what only receivers see.")] = True,
    model: Model = None,
    json: Json = False,
) -> None:
    """Report 1-ROCA, misses at 1 % and 0.1 % false positives, lam, calibration error and time per message."""

    async def work() -> None:
        report = evaluate_content(index, _model(model), online=online, outbound=outbound, progress=_tell)
        if json:
            show_json(report)
            return
        figures = report.figures
        rows = [(name, getattr(figures, name)) for name in figures.__struct_fields__]
        show_table(("figure", "value"), [(name, f"{value:.5g}") for name, value in rows])
        out.print(f"{report.ms_per_message:.2f} ms per message")

    run(work())


@app.command("accounts")
def accounts_of(
    trace: Folder, burn_in_days: BurnIn = 0.0, model: Model = None, config: Given = None, json: Json = False
) -> None:
    """Replay a trace through Penstock: leak, containment and false alarms per attack model and class of owner."""

    async def work() -> None:
        trial = Trial(_model(model), load_settings(config) if config else Settings(), load_replies().reason_of)
        report = await accounts.evaluate(
            Trace(trace), trial, name="Penstock", threshold_nats=trial.policy.hold, burn_in_days=burn_in_days
        )
        if json:
            show_json(report)
        else:
            out.print(tables.table(report), markup=False, highlight=False, soft_wrap=True)

    run(work())


@app.command()
def baselines(
    trace: Folder,
    burn_in_days: BurnIn = 0.0,
    rspamd: Annotated[
        Path | None, typer.Option(help='rspamd\'s scores, lines of {"id": …, "score": …}; else it is asked here.')
    ] = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Replay a trace through what people use today: fixed limits, counts of spam, SPOT and others."""
    weigher = _model(model)

    def score(submission: Submission) -> float:
        parsed = parse(submission.raw)
        return weigher.weigh(parsed, submission.raw, Envelope(*_envelope(submission))).log_odds

    async def work() -> None:
        other = read_scores(rspamd) if rspamd else score_of_installed_rspamd(Trace(trace), progress=_tell)
        if other is None:
            _tell(MISSING)
        reports = await evaluate_baselines(Trace(trace), score, rspamd=other, burn_in_days=burn_in_days)
        if json:
            show_json(reports)
        else:
            out.print(tables.comparison(reports), markup=False, highlight=False, soft_wrap=True)

    run(work())


def _envelope(submission: Submission) -> tuple[str, tuple[str, ...]]:
    return submission.envelope.mail_from, submission.envelope.rcpt_to


@app.command("make-trace")
def make(
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the trace is written.")],
    corpus: Annotated[Path | None, typer.Option(help="Corpus folder; PENSTOCK_CORPUS otherwise.")] = None,
    owners: Annotated[Path | None, typer.Option(help="Instead: a folder of mboxes or Maildirs, one an owner.")] = None,
    abuse: Annotated[Path | None, typer.Option(help="With --owners: an mbox or Maildir of abuse.")] = None,
    accounts: Annotated[int, typer.Option(min=10)] = 300,
    days: Annotated[int, typer.Option(min=30)] = 60,
    campaigns: Annotated[int, typer.Option(min=1, help="Of each attack model.")] = 10,
    snowshoe_accounts: Annotated[int, typer.Option(min=2)] = 50,
    hard_negatives: Annotated[int, typer.Option(min=0, help="Accounts of each kind.")] = 5,
    half: Annotated[str, typer.Option(help="tune, report or all.")] = "report",
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Build a trace from real mail, with the attack models and hard negatives put among it."""
    if half not in ("tune", "report", "all"):
        fail(f'no half "{half}"; there are tune, report and all', 2)
    if bool(owners) != bool(abuse):
        fail("--owners and --abuse go together", 2)

    async def work() -> None:
        _tell("reading mail")
        if owners and abuse:
            mail = read_mailboxes(owners, abuse, days=days, half=half)  # type: ignore[arg-type]
        else:
            mail = read_corpus(corpus_folder(corpus), days=days, half=half)  # type: ignore[arg-type]
        _tell("writing the trace")
        began = time.monotonic()
        wanted = Wanted(accounts, days, campaigns, snowshoe_accounts, hard_negatives, seed)
        made = make_trace(mail, to, wanted)
        out.print(
            f"{made.events} events of {made.accounts} accounts in {to} ({made.windows_used_twice} with weeks in "
            f"another order), {time.monotonic() - began:.0f} s",
            highlight=False,
        )

    run(work())


@app.command()
def corrections(
    corpus: Annotated[Path | None, typer.Argument(help="Folder of the corpora; else PENSTOCK_CORPUS.")] = None,
    learnt_from: Annotated[str, typer.Option(help="The source that the weights learn from.")] = "lists",
    reported_on: Annotated[str, typer.Option(help="The source whose false alarms are corrected.")] = "spamassassin",
    each: Annotated[int, typer.Option(min=1, help="Corrections of each sender with false alarms.")] = 2,
    json: Json = False,
) -> None:
    """Report what a few corrections repair, what they cost, and what a thousand poisoned ones can do."""

    async def work() -> None:
        folder = corpus_folder(corpus)
        found = evaluate_corrections(
            folder, learnt_from=learnt_from, reported_on=reported_on, each=each, progress=_tell
        )
        if json:
            show_json(found)
            return
        rows = [(name, f"{getattr(found, name):.4g}") for name in found.__struct_fields__]
        show_table(("figure", "value"), rows)

    run(work())
