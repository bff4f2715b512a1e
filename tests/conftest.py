"""Tests import their neighbours as `tests.…`."""

import sys
from pathlib import Path

import hypothesis
import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))
# A slow machine is no fault of the code's; what must be linear is measured in ratios.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """A command sets the log up for its whole process; the next test finds it as it was."""
    yield
    structlog.reset_defaults()
