"""A trace is read strictly, with the number of the line that is wrong."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage import RAW, message, write_trace

from penstock.evaluation.trace import Trace, TraceError


def test_every_kind_of_event_is_read_in_order(tmp_path: Path) -> None:
    """All five types of the format come out as records."""
    folder = write_trace(
        tmp_path,
        [
            {"t": 1, "type": "login", "account": "sasl:joe@x.example", "source": {"ip": "192.0.2.7"}, "service": "web"},
            message(2, "m1"),
            {"t": 3, "type": "delivery", "id": "m1", "rcpt": "ann@y.example", "status": "bounced", "reply": "550 no"},
            {"t": 4, "type": "complaint", "id": "m1"},
            {"t": 5, "type": "password", "account": "sasl:joe@x.example", "note": "unknown fields are notes"},
        ],
    )

    events = list(Trace(folder).events())

    assert [type(event).__name__ for event in events] == [
        "LoginSeen",
        "MessageSent",
        "DeliverySeen",
        "ComplaintSeen",
        "PasswordChanged",
    ]


def test_line_ends_become_crlf(tmp_path: Path) -> None:
    """A message kept with Unix line ends is handed in as mail is."""
    folder = write_trace(tmp_path, [message(1, "m1")])
    (folder / "msgs" / "m.eml").write_bytes(RAW.replace(b"\r\n", b"\n"))
    trace = Trace(folder)

    assert trace.raw(next(iter(trace.events()))) == RAW  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        (message(0.5, "m2"), "ordered by time"),
        (message(2, "m1"), "twice"),
        (message(2, "m2", file="../m.eml"), "leads out"),
        (message(2, "m2", file="msgs/none.eml"), "no file"),
        (message(2, "m2", rcpt_to=[]), "no recipients"),
        (message(2, "m2", account="joe"), "no account"),
        (message(2, "m2", truth="maybe"), "truth"),
        (message(2, "m2", truth="abuse"), "neither"),
        ({"t": 2, "type": "complaint", "id": "m9"}, "m9"),
        ({"t": 2, "type": "party"}, "party"),
        ({"t": "soon", "type": "complaint", "id": "m1"}, "float"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, second: dict[str, object], complaint: str) -> None:
    """Reading stops at the second line and says why."""
    folder = write_trace(tmp_path, [message(1, "m1"), second])

    with pytest.raises(TraceError, match=complaint) as error:
        list(Trace(folder).events())
    assert "events.jsonl:2:" in str(error.value)


def test_a_folder_without_events_is_no_trace(tmp_path: Path) -> None:
    """The missing file is named."""
    with pytest.raises(TraceError, match=r"events\.jsonl"):
        Trace(tmp_path)


@given(line=st.binary(max_size=200))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_a_trace_error(tmp_path: Path, line: bytes) -> None:
    """No line, however broken, raises anything else."""
    folder = write_trace(tmp_path, [])
    (folder / "events.jsonl").write_bytes(line)

    try:
        list(Trace(folder).events())
    except TraceError as error:
        assert "events.jsonl:" in str(error)


@given(cut=st.integers(0, 260))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_line_is_a_trace_error(tmp_path: Path, cut: int) -> None:
    """A file that ends in the middle of an event is not taken for whole."""
    whole = json.dumps(message(1, "m1")).encode()
    folder = write_trace(tmp_path, [])
    part = whole[: min(cut, len(whole) - 1)]
    (folder / "events.jsonl").write_bytes(part)

    if not part.strip():
        assert list(Trace(folder).events()) == []
    else:
        with pytest.raises(TraceError):
            list(Trace(folder).events())
