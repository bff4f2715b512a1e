"""Counters that add up over processes and restarts; log lines that are one line, searchable and without secrets."""

import json
import logging
import subprocess
import sys

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from penstock.model import (
    Account,
    Action,
    Decision,
    DecisionRow,
    Evidence,
    Kind,
    Reply,
    Standing,
)
from penstock.watch import Watch, as_text, configure_log, decision_line

ACCOUNT = Account("sasl", "joe@example.com", "example.com")


def decision(**more):
    given = {
        "id": "d1", "at": 1.0, "account": ACCOUNT, "action": Action.ACCEPT, "wanted": Action.ACCEPT,
        "standing": Standing.NORMAL, "kind": Kind.NORMAL, "score": 1.234,
    } | more  # fmt: skip
    return Decision(**given)


def row(one, **more):
    given = {
        "decision": one, "mail_from": "joe@example.com", "rcpt_to": ("a@x", "b@x"), "client_ip": "192.0.2.7",
        "listener": "milter", "queue_id": "Q1", "message_id": "<m@x>", "subject": "private", "size_bytes": 300,
    } | more  # fmt: skip
    return DecisionRow(**given)


def samples(watch):
    lines = watch.exposition().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


@pytest.fixture
def fresh_log():
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_what_is_counted_is_exposed():
    """Events by name, decisions by what was done and why, and how long judging took."""
    watch = Watch(None)
    watch.count("milter-messages")
    watch.count("milter-messages")
    watch.decision(decision(pool="normal"), 0.002)
    watch.decision(decision(action=Action.REJECT, wanted=Action.REJECT, reason="PS-CONTENT"), 99.0)
    found = samples(watch)

    assert found['penstock_events_total{event="milter-messages"}'] == "2.0"
    assert found['penstock_decisions_total{action="accept",pool="normal",reason="",wanted="accept"}'] == "1.0"
    assert found['penstock_decisions_total{action="reject",pool="",reason="PS-CONTENT",wanted="reject"}'] == "1.0"
    assert found['penstock_judging_seconds_bucket{le="0.0025"}'] == "1.0"
    assert found['penstock_judging_seconds_bucket{le="+Inf"}'] == found["penstock_judging_seconds_count"] == "2.0"
    assert float(found["penstock_judging_seconds_sum"]) == pytest.approx(99.002)
    watch.close()


def test_processes_of_one_folder_add_up(tmp_path):
    """Any of them answers for all, and none of them waits for another."""
    here = Watch(tmp_path)
    here.count("x")
    code = f"from pathlib import Path; from penstock.watch import Watch; w = Watch(Path({str(tmp_path)!r}));"
    code += "[w.count('x') for _ in range(3)]; print(w.exposition().decode())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert 'penstock_events_total{event="x"} 4.0' in there
    assert samples(here)['penstock_events_total{event="x"}'] == "4.0"
    here.close()


def test_a_worker_that_starts_again_counts_on(tmp_path):
    """Counters never fall, and a hundred restarts leave no hundred files."""
    for _ in range(20):
        watch = Watch(tmp_path)
        watch.count("x")
        last = samples(watch)
        watch.close()

    assert last['penstock_events_total{event="x"}'] == "20.0"
    assert len(list(tmp_path.glob("*.db"))) == 2


@pytest.mark.parametrize("torn", [b"", b"\xff" * 100, b"\x40\0\0\0" + b"\xee" * 96, b"\xff\xff\0\0" + b"\0" * 96])
def test_a_torn_file_is_begun_anew(tmp_path, torn):
    """What a crash left behind keeps nobody from starting."""
    (tmp_path / "counter_0.db").write_bytes(torn)
    watch = Watch(tmp_path)
    watch.count("x")

    assert samples(watch)['penstock_events_total{event="x"}'] == "1.0"
    watch.close()


def test_counting_alone_leaves_nothing_behind():
    """The private folder goes with its process."""
    watch = Watch(None)
    folder = watch._folder
    assert folder.exists()
    watch.close()
    watch.close()
    assert not folder.exists()


def test_a_decision_is_one_flat_line():
    """Who, what and why with the strongest evidence first; what is empty is left out, and so is the subject."""
    evidence = tuple(Evidence(f"e{n}", float(n)) for n in range(-3, 5))
    reply = Reply(450, "4.7.1", "[PS-ACCOUNT] later")
    throttled = decision(
        action=Action.THROTTLE, wanted=Action.HOLD, reason="PS-ACCOUNT", evidence=evidence, reply=reply
    )
    line = decision_line(row(throttled))

    assert line["account"] == "sasl:joe@example.com"
    assert (line["action"], line["wanted"], line["reason"]) == ("throttle", "hold", "PS-ACCOUNT")
    assert line["evidence"] == "e4=+4.00 e-3=-3.00 e3=+3.00 e-2=-2.00 e2=+2.00"
    assert line["recipients"] == 2
    assert line["reply"] == "450 4.7.1 [PS-ACCOUNT] later"
    assert "private" not in line.values()
    assert {"pool", "event", "judged"} & line.keys() == set()
    assert decision_line(row(decision(is_judged=False)))["judged"] is False
    json.dumps(line)


@pytest.mark.parametrize("format", ["text", "json"])
def test_the_log_goes_to_standard_error(format, capsys, fresh_log):
    """From the level up; libraries too; secrets hidden; a traceback where there is one."""
    configure_log("info", format)
    log = structlog.get_logger()
    log.debug("too-little")
    log.info("decision", **decision_line(row(decision())), judged_ms=1.5, password="hunter2")
    logging.getLogger("asyncio").warning("slow %s", "callback")
    try:
        raise RuntimeError("boom")
    except RuntimeError as trouble:
        log.error("not-done", exc_info=trouble)
    out, err = capsys.readouterr()

    assert out == ""
    assert "too-little" not in err
    assert "hunter2" not in err
    assert "slow callback" in err
    assert "RuntimeError" in err
    assert "boom" in err
    if format == "json":
        first = json.loads(err.splitlines()[0])
        assert (first["event"], first["level"], first["account"]) == ("decision", "info", "sasl:joe@example.com")
        assert len([json.loads(line) for line in err.splitlines()]) == 3
    else:
        assert "account=sasl:joe@example.com" in err.splitlines()[0]


def test_an_unknown_level_is_said_so(fresh_log):
    """The settings check it; so does this."""
    with pytest.raises(ValueError, match="level"):
        configure_log("loud", "text")
    with pytest.raises(ValueError, match="format"):
        configure_log("info", "xml")


@given(st.text())
def test_no_stranger_breaks_a_line(text):
    """Control characters and line ends of any kind become question marks."""
    line = as_text(None, "info", {"timestamp": "now", "level": "info", "event": "x", "sender": text})

    assert line.isprintable()
    assert line.startswith("now info    x sender=")


def test_a_log_that_is_gone_stops_nothing(monkeypatch):
    """Standard error was closed: what is logged is lost, and nothing raises."""
    import io

    import structlog

    gone = io.StringIO()
    monkeypatch.setattr("sys.stderr", gone)
    configure_log("info", "text")
    gone.close()

    structlog.get_logger().error("nobody-hears", trouble="x")

    assert gone.closed
