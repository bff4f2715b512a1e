"""The settings in the guides about shutting are settings that there are."""

import re
from pathlib import Path

import pytest

from penstock.config import parse_settings

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@pytest.mark.parametrize("name", ["postfix-dovecot", "cpanel", "plesk", "directadmin", "ispconfig"])
def test_each_block_of_settings_is_accepted(name):
    """Copied as it stands."""
    blocks = re.findall(r"```toml\n(.*?)```", (GUIDES / f"{name}.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        assert parse_settings(block).enforcement.hosts()
