"""The settings of learning from the provider's own verdicts."""

from __future__ import annotations

from pydantic import Field

from penstock.sections.fields import Section


class LearningSection(Section):
    """Learning from the provider's own verdicts: `penstock learn`, held mail that people decide about, complaints.

    The shipped weights never change; each bound says by how many nats a message's log-odds can move at most.
    """

    from_held: bool = True
    """Learn from held mail that a person releases or drops by id; `--no-learn` leaves one out."""
    from_complaints: bool = True
    """Learn, weakly, from complaints about mail that looked suspicious."""
    nats_per_example: float = Field(4.0, gt=0, le=20)
    """What one example may add."""
    nats_per_account: float = Field(8.0, gt=0)
    """What all examples of one account's mail may add."""
    nats_per_tenant: float = Field(24.0, gt=0)
    """What all examples of one tenant's mail may add."""
    nats_per_day: float = Field(400.0, gt=0)
    """What the examples of one day (UTC) may add."""
    nats_at_most: float = Field(10.0, gt=0, le=50)
    """What all examples together may add to one message."""
    keep_days: float = Field(365, gt=0)
    """After this an example is forgotten, with what it taught."""
    remember_days: float = Field(14, gt=0)
    """How long a decision about suspicious mail can be corrected where the message is not kept; a kilobyte each."""
    catch_up_s: float = Field(5.0, gt=0)
    """How often a running process asks the store for what is new."""
