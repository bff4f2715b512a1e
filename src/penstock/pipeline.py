"""The order of all steps: admit at MAIL, judge the whole message, absorb what comes back."""

from __future__ import annotations

from typing import Protocol

from penstock.model import Admission, Decision, Delivered, Opening, Submission


class Gate(Protocol):
    """What listeners ask of the pipeline. None of the three raises: trouble of ours is an answer (`on_failure`)."""

    async def admit(self, opening: Opening) -> Admission:
        """Answer at MAIL (and at RCPT, where `opening.rcpt_to` is set): standing and limits only, cheap."""

    async def judge(self, submission: Submission) -> Decision:
        """Judge a whole message. A held message is on disk, and whatever acts is durable, when this returns."""

    async def delivered(self, delivered: Delivered) -> None:
        """Take note of what the next hop answered for a decision."""
