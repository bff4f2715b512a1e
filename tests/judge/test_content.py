"""The content model: sums that explain themselves, weights that come back, learning that is bounded."""

import time
from importlib import resources

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.judge.content import ContentModel
from penstock.judge.message import parse
from penstock.model import Envelope, Kind

ENVELOPE = Envelope("ann@shop.example", ("joe@b.example",))
SCAM = (
    b"From: Mr Smith <smith@shop.example>\r\nReply-To: barrister.smith@gmail.com\r\nTo: undisclosed-recipients:;\r\n"
    b"Subject: URGENT BUSINESS PROPOSAL\r\n\r\nDear friend, I am the attorney of a late client who left the sum of "
    b"US$12,500,000 in a bank. I need your assistance to transfer this fund into your account; you will receive 40% of "
    b"the total sum. Kindly reply with your full name, telephone number and address.\r\n"
)
LETTER = (
    b"From: Ann Lee <ann@shop.example>\r\nTo: joe@b.example\r\nSubject: Re: meeting on Thursday\r\n"
    b"In-Reply-To: <1@b.example>\r\n\r\nHi Joe, thanks for the notes. I think the second patch should go in before the "
    b"release, and I'll look at the test failures tomorrow morning.\r\n\r\n> when do you have time?\r\n"
)


@pytest.fixture(scope="module")
def shipped():
    """The weights that come with the package, as bytes."""
    return (resources.files("penstock") / "weights" / "content.bin").read_bytes()


@pytest.fixture
def model(shipped):
    return ContentModel.from_bytes(shipped)


def weigh(model, raw):
    return model.weigh(parse(raw), raw, ENVELOPE)


def test_the_shipped_weights_tell_a_scam_from_a_letter(model):
    """Neither text is in any corpus."""
    assert weigh(model, SCAM).log_odds > 2
    assert weigh(model, LETTER).log_odds < -2


def test_the_shipped_weights_are_small_and_load_fast(shipped):
    """A few megabytes, a fraction of a second."""
    began = time.process_time()

    ContentModel.from_bytes(shipped)

    assert len(shipped) < 4_000_000
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("raw", [SCAM, LETTER, b"", b"Subject: x\r\n\r\n"])
def test_evidence_sums_to_the_log_odds(model, raw):
    """Every nat has a name; words and facts come strongest first, the remainder last."""
    verdict = weigh(model, raw)
    nats = [term.nats for term in verdict.evidence]
    told = [abs(term.nats) for term in verdict.evidence if term.name not in ("letters", "wire-form", "rest")]

    assert sum(nats) == pytest.approx(verdict.log_odds, abs=1e-6)
    assert told == sorted(told, reverse=True)
    assert verdict.evidence[-1].name == "rest"


def test_a_verdict_has_findings_keys_and_kind(model):
    """What a person asks for first."""
    verdict = weigh(model, SCAM)

    assert "reply-to-freemail" in {one.name for one in verdict.findings}
    assert "reply-to:barrister.smith@gmail.com" in verdict.fingerprints
    assert verdict.kind is Kind.NORMAL
    assert any(term.name.startswith("word:") and term.nats > 0 for term in verdict.evidence)


@pytest.mark.parametrize("header", [b"Auto-Submitted: auto-replied", b"List-Unsubscribe: <https://x.example>"])
def test_a_kind_that_a_header_claims_lowers_nothing(model, header):
    """An attacker writes headers too: a claim of automatic or bulk mail is not worth a nat."""
    claimed = weigh(model, header + b"\r\n" + SCAM)

    assert claimed.kind is not Kind.NORMAL
    assert claimed.log_odds >= weigh(model, SCAM).log_odds - 1e-6


def test_learning_moves_the_verdict_until_it_is_right(model):
    """A provider's own verdicts win over seed weights, in a few messages."""
    parsed = parse(SCAM)
    before = weigh(model, SCAM).log_odds

    moves = [model.learn(parsed, SCAM, ENVELOPE, False) for _ in range(12)]

    assert moves[0]
    assert weigh(model, SCAM).log_odds < min(0.0, before)
    assert abs(weigh(model, LETTER).log_odds) < 60


def test_judging_learns_nothing(model, shipped):
    """Weighing leaves the model as it is, and says the same again."""
    first = weigh(model, SCAM)

    assert weigh(model, SCAM) == first
    assert model.to_bytes() == ContentModel.from_bytes(shipped).to_bytes()


def test_what_was_learnt_survives_storage(model):
    """Bytes and back: verdicts stay within the precision of stored weights, and bytes stay the same."""
    for _ in range(3):
        model.learn(parse(SCAM), SCAM, ENVELOPE, False)
    data = model.to_bytes()
    again = ContentModel.from_bytes(data)

    assert weigh(again, SCAM).log_odds == pytest.approx(weigh(model, SCAM).log_odds, abs=0.05)
    assert again.to_bytes() == data


@pytest.mark.parametrize("data", [b"", b"garbage", msgspec.msgpack.encode({"format": "x"})])
def test_other_bytes_are_refused(data):
    """What is no model says so."""
    with pytest.raises(ValueError, match="weights"):
        ContentModel.from_bytes(data)


def test_a_damaged_table_is_refused(shipped):
    """Weights that are cut, too many or no numbers are never judged by."""
    stored = msgspec.msgpack.decode(shipped)
    for table in (stored["tables"]["shape"][:-9], stored["tables"]["text"], b"\x00"):
        broken = {**stored, "tables": {**stored["tables"], "shape": table}}
        with pytest.raises(ValueError, match="weights"):
            ContentModel.from_bytes(msgspec.msgpack.encode(broken))


BLANK = ContentModel.blank()


@settings(max_examples=150)
@given(st.binary(max_size=500), st.booleans())
def test_garbage_is_weighed_and_learnt(raw, is_abuse):
    """Whatever comes in, there is a finite verdict whose evidence adds up."""
    BLANK.learn(parse(raw), raw, ENVELOPE, is_abuse)
    verdict = weigh(BLANK, raw)

    assert sum(term.nats for term in verdict.evidence) == pytest.approx(verdict.log_odds, abs=1e-4)
