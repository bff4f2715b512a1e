"""The frozen records of what people said about messages: values only, beside `model`."""

from __future__ import annotations

from msgspec import Struct


class Example(Struct, frozen=True):
    """One message of which somebody (`who`, or `complaints`) said what it is; never the message itself.

    Messages that say the same have one `digest`. `format` is that of the traits, `log_odds` what the model said by
    itself, `weight` the share of a full step.
    """

    id: str
    at: float
    who: str
    is_abuse: bool
    account: str
    tenant: str
    origin: str  # `file`, `decision`, `held`, `complaint`
    digest: str
    format: int
    log_odds: float
    weight: float = 1.0
    subject: str = ""
    undone_at: float = 0.0


class Lesson(Struct, frozen=True):
    """An example with its packed traits, and the place that the store gave it in the order of learning."""

    example: Example
    traits: bytes
    number: int = 0


class Remembered(Struct, frozen=True):
    """What could be learnt from a message that is not kept, for as long as somebody may want to correct it."""

    decision_id: str
    at: float
    format: int
    log_odds: float
    traits: bytes
