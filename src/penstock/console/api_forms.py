"""What the API takes and gives: bodies of requests, pages of rows, and their schemas."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from fastapi import Query
from fastapi.responses import Response
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from penstock.desk import Refused
from penstock.examples import Example
from penstock.learning import Taken
from penstock.model import AccountRow, Audit, DecisionRow, Delivered, Event, Held, Standing
from penstock.overview import AccountView, PoolRow, Shown
from penstock.pool_past import PlanView
from penstock.sending import Case, Listing
from penstock.workers.held import Outcome

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=200, description="Rows of one page at most.")]
Moment = Annotated[float, Query(ge=0, le=1e11, allow_inf_nan=False, description="Unix seconds; 0 for no bound.")]
Most = Annotated[int, Query(ge=1, le=5000, description="Messages that left, the latest.")]
Text = Annotated[str, Query(max_length=1000)]


class Body(BaseModel):
    """A request's body; what is unknown is a fault."""

    model_config = ConfigDict(extra="forbid")


class Reason(Body):
    """Why, for the audit."""

    reason: str = Field("", max_length=1000)


class OfAccount(Reason):
    """One account and why."""

    account: str = Field(max_length=1000, examples=["sasl:joe@example.com"])


class PinAccount(OfAccount):
    """Where an account's mail shall leave from."""

    pool: str = Field(max_length=100)
    ip: str = Field("", max_length=100)
    until: float = Field(0.0, ge=0, le=1e11, allow_inf_nan=False)
    """Unix seconds; 0 for a pin that stays."""


class LimitAccount(OfAccount):
    """One limit of an account, in the place of its plan's."""

    unit: Literal["messages", "recipients", "new-recipients"]
    window: Literal["hour", "day"]
    most: int = Field(ge=-1, le=1_000_000_000)
    """0 for none, -1 takes it back."""
    until: float = Field(0.0, ge=0, le=1e11, allow_inf_nan=False)
    """Unix seconds; 0 for one that stays."""


class Unlearn(Reason):
    """Which examples to take back."""

    ids: list[Annotated[str, Field(max_length=100)]] = Field(min_length=1, max_length=200)


class Teach(Unlearn):
    """What messages are, by the ids of their decisions."""

    verdict: Literal["abuse", "legit"]


class SettleHeld(Reason):
    """Which held messages, and whether to learn from them."""

    ids: list[str] = Field(min_length=1, max_length=200)
    learn: bool = True


class SetIp(Reason):
    """One sending IP."""

    ip: str = Field(max_length=100)
    last: bool = False
    """Even if it is its pool's last usable one."""


class Page(Struct, Generic[T], frozen=True):
    """Rows, and what to ask for as `after` to get those behind them; null at the end."""

    rows: list[T]
    next: str | None


class Me(Struct, frozen=True):
    """Whose token this is, and what it opens."""

    name: str
    role: str
    tenant: str


class Said(Struct, frozen=True):
    """What is so after an action."""

    said: str


class Steered(Struct, frozen=True):
    """An account's standing after a person's word."""

    account: str
    standing: Standing


class Undone(Struct, frozen=True):
    """How many examples were taken back."""

    undone: int


class Explained(Struct, frozen=True):
    """One decision with what the next hop said and the sum in words."""

    row: DecisionRow
    delivery: Delivered | None
    explanation: list[str]


class CaseView(Struct, frozen=True):
    """One case with what shows it and what was done."""

    case: Case
    messages: list[Shown]
    history: list[Audit]


def answer(value: Any) -> Response:
    """A record as JSON."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def page(rows: list[T], limit: int, place: str) -> Response:
    """A page; `place` is where its last row stands."""
    return answer(Page(rows, place if len(rows) == limit else None))


def write_place(value: float | str, name: str) -> str:
    """Where a row stands in an order, for `after`."""
    return base64.urlsafe_b64encode(msgspec.json.encode([value, name])).decode()


def read_place(text: str, kind: type[float] | type[str]) -> tuple[float | str, str] | None:
    """What `write_place` wrote. Raises Refused for anything else."""
    if not text:
        return None
    try:
        value, name = msgspec.json.decode(base64.b64decode(text, altchars=b"-_", validate=True), type=tuple[kind, str])  # type: ignore[valid-type]
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise Refused('"after" is none that a page of this order gave') from None
    return value, name


_KINDS = (
    Page[AccountRow], Page[Event], Page[DecisionRow], Page[Held], Page[Case], Page[Listing], Page[Audit], Page[PoolRow],
    Page[Outcome], AccountView, Explained, CaseView, Me, Said, Steered,
    Page[Example], Taken, Undone, PlanView,
)  # fmt: skip


def schemas(*more: Any) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """(schema of each record, their shared parts), as OpenAPI 3.1 has them."""
    kinds = [*_KINDS, *more]
    found, parts = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return dict(zip(map(str, kinds), found, strict=True)), parts
