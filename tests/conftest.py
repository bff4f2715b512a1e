"""Tests import their neighbours as `tests.…`."""

import sys
from pathlib import Path

import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """A command sets the log up for its whole process; the next test finds it as it was."""
    yield
    structlog.reset_defaults()
