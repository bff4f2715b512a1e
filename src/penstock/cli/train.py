"""penstock train: seed weights from a corpus folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import err, fail, out
from penstock.cli.session import run
from penstock.evaluation import train as training


def train(
    corpus: Annotated[Path, typer.Argument(help="Folder of spamassassin, lists and enron, unpacked or as .tar.xz.")],
    to: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("content.bin"),
) -> None:
    """Learn the content model's weights from a corpus; the same corpus gives the same file."""
    if not corpus.is_dir():
        fail(f"{corpus}: there is no such folder", 2)

    async def work() -> None:
        model = training.train(corpus, progress=lambda line: err.print(line, highlight=False))
        to.write_bytes(model.to_bytes())
        out.print(f"{to}: {to.stat().st_size} bytes", highlight=False)

    run(work())
