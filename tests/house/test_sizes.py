"""Files and functions stay small; what is larger has its reason in pyproject.toml."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "penstock"
FILE_LINES, FUNCTION_LINES = 500, 60


def reasons() -> dict[str, str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["penstock"]["sizes"]


def too_large() -> set[str]:
    large = set()
    for path in SRC.rglob("*.py"):
        name = str(path.relative_to(SRC))
        text = path.read_text()
        if text.count("\n") > FILE_LINES:
            large.add(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                if length > FUNCTION_LINES:
                    large.add(f"{name}:{node.name}")
    return large


def test_what_is_large_has_a_written_reason():
    """No file grows past 500 lines and no function past 60 by accident."""
    assert too_large() - set(reasons()) == set()


def test_no_reason_outlives_its_cause():
    """The list of exceptions shrinks as soon as it can."""
    assert set(reasons()) - too_large() == set()
