"""Training from a small made-up corpus, and judging a stream; the real corpus only where it is."""

import tarfile
from importlib import resources
from random import Random

import pytest

from penstock.evaluation.content import evaluate_content, evaluate_stream, outgoing
from penstock.evaluation.corpus import corpus_folder, read_index, read_samples
from penstock.evaluation.occasions import COPIES, occasions
from penstock.evaluation.train import Row, row_weights, train
from penstock.judge.content import ContentModel
from penstock.judge.message import parse

SHIPPED = resources.files("penstock") / "weights" / "content.bin"
GOOD = "meeting report agenda project review budget notes draft schedule release patch test branch merge".split()
BAD = "winner lottery prize claim urgent transfer million pills cheap loan casino bonus offer unsubscribe".split()


def letter(rng, words, number):
    text = " ".join(rng.choice([*words, "the", "of", "and", "we", "you"]) for _ in range(60))
    return (
        f"Received: from x by y\r\nFrom: p{number}@{rng.choice(words)}.example\r\nTo: office@example.net\r\n"
        f"Subject: {rng.choice(words)} {rng.choice(words)}\r\n\r\n{text}.\r\n"
    ).encode()


def fill(folder, names, rng, words, count):
    for number in range(count):
        path = folder / names / f"{number:04}.eml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(letter(rng, words, number))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three sources in the corpus's layout, one of them an archive."""
    folder, rng = tmp_path_factory.mktemp("corpus"), Random(3)
    for source, ham in (("spamassassin", "easy_ham"), ("lists", "ham")):
        fill(folder / source, ham, rng, GOOD, 40)
        fill(folder / source, "spam", rng, BAD, 20)
        lines = [f"ham {ham}/{n:04}.eml\nspam spam/{n % 20:04}.eml" for n in range(40)]
        (folder / source / "index").write_text("\n".join(lines) + "\n")
    box = b"".join(
        b"From x Mon Jan  1 00:00:00 2001\n" + letter(rng, GOOD, n).replace(b"\r\n", b"\n") for n in range(30)
    )
    (folder / "enron").mkdir()
    (folder / "enron" / "ann.mbox").write_bytes(box)
    with tarfile.open(folder / "lists.tar.xz", "w:xz") as archive:
        archive.add(folder / "lists", "lists")
    return folder


def quiet(_line):
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def weights(corpus):
    return train(corpus, progress=quiet, sources=("spamassassin", "enron")).to_bytes()


def test_training_is_deterministic(corpus, weights):
    """The same corpus gives the same bytes."""
    assert train(corpus, progress=quiet, sources=("spamassassin", "enron")).to_bytes() == weights


def test_what_one_corpus_taught_holds_on_another(corpus, weights):
    """Frozen, the other source is told apart; the report counts what was judged."""
    report = evaluate_content(
        corpus / "lists" / "index", ContentModel.from_bytes(weights), online=False, progress=quiet
    )

    assert report.figures.messages == 80
    assert report.figures.roca_percent < 1
    assert report.ms_per_message > 0


def test_online_learns_and_frozen_does_not(corpus):
    """A model that knows nothing tells nothing apart, unless it may learn."""
    index = corpus / "lists" / "index"
    frozen, learner = ContentModel.blank(), ContentModel.blank()

    assert evaluate_content(index, frozen, online=False, progress=quiet).figures.roca_percent == 50.0
    assert frozen.to_bytes() == ContentModel.blank().to_bytes()
    assert evaluate_content(index, learner, online=True, progress=quiet).figures.roca_percent < 15


def test_a_group_counts_no_more_than_its_limit():
    """A thousand letters of one robot weigh as thirty; the label's messages together still weigh what they number."""
    senders = ["robot"] * 1000 + [f"person{n}" for n in range(100)]
    rows = [Row("lists", sender, {}, False) for sender in senders]

    weights = row_weights(rows)

    assert sum(weights) == pytest.approx(len(rows))
    assert sum(weights[:1000]) / sum(weights[1000:]) == pytest.approx(30 / 100)


def test_letters_of_occasions_are_whole_and_the_same_each_time():
    """Every blank is filled in, half are pages, and a lure never links to its sender's own site."""
    samples = list(occasions())

    assert samples == list(occasions())
    assert len(samples) > 100 * COPIES
    for sample in samples:
        parsed = parse(sample.raw)
        told = f"{parsed.subject} {parsed.text}"
        assert parsed.text
        assert "{" not in told
        assert "}" not in told
        home = parsed.from_address.rpartition("@")[2]
        assert all((home in link.url) != sample.is_abuse for link in parsed.links if link.host), told
    assert sum(parse(sample.raw).has_html for sample in samples) == len(samples) // 2


def test_an_archive_reads_as_its_folder(corpus, tmp_path):
    """Unpacked or not, the samples are the same and in the same order."""
    (tmp_path / "lists.tar.xz").write_bytes((corpus / "lists.tar.xz").read_bytes())

    packed = [(one.name, one.raw, one.is_abuse) for one in read_samples(tmp_path, ("lists",))]

    assert packed == [(one.name, one.raw, one.is_abuse) for one in read_samples(corpus, ("lists",))]
    assert sum(abuse for _, _, abuse in packed) == 20


def test_a_missing_corpus_is_named(tmp_path):
    """The error says which archive was looked for."""
    with pytest.raises(FileNotFoundError, match="lists"):
        train(tmp_path, progress=quiet, sources=("lists",))
    with pytest.raises(FileNotFoundError, match="PENSTOCK_CORPUS"):
        corpus_folder(tmp_path)


def test_a_bad_index_is_told_with_its_line(tmp_path):
    """Neither spam nor ham: which line, and what it says."""
    (tmp_path / "index").write_text("\nmaybe a/b.eml\n")

    with pytest.raises(ValueError, match=r"index:2: .*maybe"):
        list(read_index(tmp_path / "index"))


def test_the_outbound_view_hides_what_receivers_wrote():
    """Received, filters' verdicts and list fields go, with their folded lines; what the sender wrote stays."""
    raw = (
        b"From joe Mon Jan 1\nReceived: from a\n\tby b\nX-Spam-Flag: YES\nSubject: x\n folded\nList-Id: <l>\n"
        b"X-Mailer: m\n\nReceived: in the body\n"
    )

    assert outgoing(raw) == b"Subject: x\n folded\nX-Mailer: m\n\nReceived: in the body\n"


def test_seed_weights_on_real_mail():
    """On the real corpus the shipped weights tell its halves apart (they learnt from it)."""
    samples = read_samples(corpus_folder(), ("spamassassin",))
    stream = [(one.is_abuse, one.raw) for at, one in enumerate(samples) if at % 20 == 0]

    report = evaluate_stream(stream, ContentModel.from_bytes(SHIPPED.read_bytes()), online=False, progress=quiet)

    assert report.figures.roca_percent < 1
