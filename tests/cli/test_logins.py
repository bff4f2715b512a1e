"""What the operator sees of logins."""

import asyncio
import json
import time

from typer.testing import CliRunner

from penstock.attempts import Attempt
from penstock.cli.main import app
from penstock.cli.session import opened
from penstock.config import load_settings

runner = CliRunner()
JOE = "sasl:joe@example.com"


def call(*words, status=0):
    found = runner.invoke(app, [str(one) for one in words])
    assert found.exit_code == status, found.output
    return found.output


async def live(path):
    """A month at home, then ten strangers with the password."""
    async with opened(load_settings(path)) as service:
        now = time.time()
        for day in range(30, 0, -1):
            await service.pipeline.logged_in(Attempt(now - day * 86400, "joe@example.com", "192.0.2.7", "imap"))
        for number in range(10):
            attempt = Attempt(now - 600 + number, "joe@example.com", f"198.18.{number}.9", "smtp")
            await service.pipeline.logged_in(attempt)


def test_places_are_shown_and_a_login_is_explained(tmp_path):
    """The owner's home has nothing against it, a stranger's place has; asking keeps nothing."""
    path = tmp_path / "penstock.toml"
    path.write_text(f'[judge]\nmode = "enforce"\n[store]\npath = "{tmp_path}/p.sqlite"\n')
    asyncio.run(live(path))
    config = ("-c", path)

    shown = json.loads(call("accounts", "show", JOE, "--json", *config))["logins"]
    home = next(one for one in shown if one["source"] == "192.0.2.0/24")
    stranger = next(one for one in shown if one["source"] == "198.18.0.0/24")
    assert (home["logins"], home["strangeness"], home["services"]) == (30, 0.0, ["imap"])
    assert stranger["strangeness"] > 3
    assert "192.0.2.0/24" in call("accounts", "show", JOE, *config)
    assert "goes on" in call("logins", "ask", "joe@example.com", "192.0.2.9", *config)
    refused = call("logins", "ask", "joe@example.com", "198.51.100.9", "--service", "submission", *config)
    assert "refused" in refused and "many-sources" in refused
    found = json.loads(call("logins", "ask", "joe@example.com", "198.51.100.9", "--json", *config))
    assert (found["is_refused"], found["reason"]) == (True, "PS-LOGIN")
    assert json.loads(call("accounts", "show", JOE, "--json", *config))["audit"] == []
