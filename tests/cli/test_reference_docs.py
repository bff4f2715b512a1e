"""The reference in docs/ is what the code says."""

from pathlib import Path

from penstock.cli import reference

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def test_the_reference_of_settings_is_up_to_date():
    """`make reference` was run after a setting changed."""
    assert (DOCS / "configuration.md").read_text("utf-8") == reference.configuration()


def test_the_reference_of_commands_is_up_to_date():
    """`make reference` was run after a command changed."""
    assert (DOCS / "commands.md").read_text("utf-8") == reference.commands()
