"""Campaign keys: near-copies meet, strangers do not, and hostile text costs no more than other text."""

import itertools
import random
import time

import pytest

from penstock.judge.fingerprints import MAX_KEYS, fingerprints, link_keys
from penstock.judge.fingerprints import text_keys as keys_of
from penstock.judge.message import parse
from penstock.judge.parsed import Link
from penstock.judge.words import words_of

OFFER = (
    "We are pleased to inform you that your company has been selected for our exclusive business loan offer. "
    "The interest rate is only three percent and no collateral of any kind is required from your side. "
    "Please send us your full name and the amount that you wish to borrow from our institution. "
    "Our loan officer will contact you within one working day with all terms and conditions. "
    "This opportunity is limited to the first hundred companies which reply to this message. "
)
WORDS = "amber basin cedar delta ember fjord grove haven islet jetty knoll ledge mesa north ocean pearl quarry".split()


def text_keys(text):
    return keys_of(words_of("", text))


def meet(one, other):
    return bool(set(text_keys(one)) & set(text_keys(other)))


def filler(rng, words):
    return " ".join(rng.choice(WORDS) + rng.choice(WORDS) for _ in range(words)) + ". "


def test_shuffled_sentences_meet():
    """The order of sentences is nothing that a campaign is known by."""
    sentences = [sentence + "." for sentence in OFFER.strip().split(".") if sentence]

    assert meet(OFFER, " ".join(reversed(sentences)))


@pytest.mark.parametrize("seed", range(10))
def test_personalised_names_and_numbers_meet(seed):
    """A greeting by name, and codes that differ in each copy, change nothing."""
    rng = random.Random(seed)
    copies = [f"Dear {rng.choice(WORDS)} {rng.choice(WORDS)},\n{OFFER}\nRef {rng.randrange(10**9)}X" for _ in range(2)]

    assert meet(*copies)


def test_random_filler_mostly_meets():
    """Half as much random text again, anywhere: nine pairs in ten still meet."""
    rng = random.Random(4)
    copies = [filler(rng, 20) + OFFER + filler(rng, 20) for _ in range(41)]

    assert sum(meet(one, other) for one, other in itertools.pairwise(copies)) >= 36


def test_strangers_do_not_meet():
    """Another letter shares no key, and a text of few words has none."""
    other = "Hi Ann, the minutes of yesterday's meeting are attached; please check the second item before we file them."

    assert not meet(OFFER, other)
    assert text_keys("ok, thanks!") == []


def test_text_without_spaces_is_known_too():
    """Chinese has no word breaks; its characters are the words."""
    text = "我们很高兴地通知您贵公司已被选中参加我们的独家商业贷款优惠活动请尽快联系我们的工作人员"

    assert meet(text, "您好王先生。\n" + text)


def link(url, host, domain="", **more):
    return Link(url, host, domain or host, **more)


def test_links_are_known_by_domain_and_template():
    """A host of its own for each copy, numbers and random parts are left out."""
    one = link("http://a1.bad.example/offer/83jd72kdk2/go.php?id=1", "a1.bad.example", "bad.example")
    two = link("http://zz.bad.example/offer/k29dk2k3ls/go.php?id=2", "zz.bad.example", "bad.example")

    assert link_keys((one,)) == link_keys((two,)) == ["url:bad.example/offer/*/go.php"]


def test_links_that_everybody_has_are_no_keys():
    """Big sites, the sender's own, quoted ones and style sheets say nothing; a page on shared ground is known whole."""
    links = (
        link("https://www.facebook.com/shop", "www.facebook.com", "facebook.com"),
        link("https://shop.example/", "shop.example"),
        link("https://old.example/", "old.example", is_quoted=True),
        link("https://css.example/a.css", "css.example", where="resource"),
        link("https://docs.google.com/", "docs.google.com", "google.com", where="resource"),
        link("https://forms.gle.page.link/Ab3x", "forms.gle.page.link", "page.link"),
    )

    assert link_keys(links, "ann@shop.example") == ["url:forms.gle.page.link/Ab3x"]


def test_a_message_has_all_its_keys_and_never_more_than_a_dozen():
    """Reply address, phone, wallet and file are keys beside text and links."""
    raw = (
        b"From: a@b.example\r\nReply-To: boss@gmail.com\r\nSubject: offer\r\n"
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n"
        + OFFER.encode()
        + b" Call +49 30 1234567. http://one.example/a http://two.example/b\r\n"
        b"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq\r\n"
        b"--x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF" + b"x" * 900 + b"\r\n--x--\r\n"
    )

    parsed = parse(raw)
    keys = fingerprints(parsed, words_of(parsed.subject, parsed.text))

    assert {key.partition(":")[0] for key in keys} == {"text", "url", "reply-to", "phone", "wallet", "attachment"}
    assert len(keys) == len(set(keys)) <= MAX_KEYS


@pytest.mark.parametrize("text", ["!" * 60_000, "a" * 60_000, "a. " * 20_000, "\n" * 60_000, "1a" * 30_000])
def test_hostile_text_is_cheap(text):
    """No text makes patterns backtrack."""
    began = time.process_time()

    text_keys(text)

    assert time.process_time() - began < 0.2
