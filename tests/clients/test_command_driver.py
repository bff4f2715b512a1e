"""A program of the operator's: arguments are filled without a shell, its status is the answer, its time is bounded."""

import sys

import pytest

from penstock.clients.drivers.command import Command
from penstock.clients.drivers.driver import Refused, Unavailable
from penstock.model import Rung, Step, Thing


def step(name="joe@shop.example", verb="shut"):
    return Step("k/1", 1.0, f"sasl:{name}", verb, Thing(Rung.MAILBOX, name), "pills; $(id)")


def command(code, *more, timeout_s=20.0):
    return Command([sys.executable, "-c", code, *more], frozenset(Rung), timeout_s)


async def test_arguments_reach_the_program_as_they_are(tmp_path):
    """No shell; what a name or a reason says is never read as a place."""
    out = tmp_path / "out"
    driver = command(
        f"import sys; open({str(out)!r}, 'w').write('|'.join(sys.argv[1:]))", "{verb}", "x={name}", "{reason}"
    )
    assert "did it" in await driver.carry_out(step("{verb}`id`"))
    assert out.read_text() == "shut|x={verb}`id`|pills; $(id)"
    assert "'shut'" in driver.describe(step())


async def test_the_status_says_whether_it_is_done_later_or_refused():
    """0, 75, anything else; and a program that is not there is later."""
    with pytest.raises(Unavailable, match="later: busy"):
        await command("import sys; print('busy'); sys.exit(75)").carry_out(step())
    with pytest.raises(Refused, match="ended with 3: no such box"):
        await command("import sys; print('no such box'); sys.exit(3)").carry_out(step())
    with pytest.raises(Unavailable, match="cannot be run"):
        await Command(["/nonexistent/program"], frozenset(Rung), 1.0).carry_out(step())


async def test_a_program_that_hangs_is_ended():
    """With everything that it started."""
    with pytest.raises(Unavailable, match="no answer within"):
        await command("import time; time.sleep(600)", timeout_s=0.3).carry_out(step())


async def test_a_name_that_would_pass_for_an_option_is_refused():
    """An account may be called as a stranger pleases."""
    with pytest.raises(Refused, match="dash"):
        await command("", "{name}").carry_out(step("--delete-all"))
