"""What every driver is: it shuts a thing where it lives, and opens it again; both as often as they are asked."""

from __future__ import annotations

from typing import Protocol

from penstock.model import Rung, Step


class Unavailable(Exception):
    """The other side does not answer, or cannot do anything now. What waits for it waits, for days where need be."""


class Refused(Exception):
    """The other side answers, and will not do this one thing: there is no such account, or no right to it."""


class Driver(Protocol):
    """One product that accounts live in."""

    @property
    def rungs(self) -> frozenset[Rung]:
        """What it can shut."""

    def knows(self, step: Step) -> bool:
        """Whether the thing lives here, as far as the settings say."""

    def describe(self, step: Step) -> str:
        """What it would do, in one line."""

    async def carry_out(self, step: Step) -> str:
        """Shut or open, and say what was done. Done twice it is as done once.

        Raises Unavailable and Refused.
        """

    async def close(self) -> None:
        """Let go of what is open."""
