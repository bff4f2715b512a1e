"""Words as numbers: the same word has the same number anywhere, and hostile text costs no more than other text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.judge.words import MAX_BYTES, words_of


def phrases(words):
    return [words.phrase(at, 1) for at in range(len(words))]


def test_words_are_told_apart_and_folded():
    """Capitals, digits and signs between words make no difference; the subject's words come first."""
    words = words_of("Re: Offer", "Pay $50 (now)!\nDON'T wait,\tÄrger")

    assert phrases(words) == ["re", "offer", "pay", "$00", "now", "don't", "wait", "Ärger"]
    assert words.in_subject == 2
    assert words.phrase(2, 2) == "pay $00"


@given(st.text(), st.text(st.sampled_from("aB1 .\n'é"), max_size=400))
def test_a_word_has_one_number_wherever_it_stands(subject, text):
    """Alone, or at any place of any text; two words of this little alphabet never share one."""
    words = words_of(subject, text)
    numbers = {}

    for at, number in enumerate(words.hashes.tolist()):
        word = words.folded[words.starts[at] : words.ends[at]]
        assert numbers.setdefault(number, word) == word
        assert words_of("", word.decode("utf-8", "replace")).hashes.tolist() == [number] or b"\xef\xbf" in word


def test_long_words_have_one_number_too():
    """Place counts for the first letters only, and words of any length stand beside others."""
    long = "x" * 70 + "y" * 500
    words = words_of("", f"short {long} short {long}")

    assert words.hashes[0] == words.hashes[2] != words.hashes[1] == words.hashes[3]
    assert words_of("", long).hashes[0] == words.hashes[1]


@pytest.mark.parametrize("text", ["", " ", "!" * 70_000, "a" * 70_000, "a " * 35_000, ("b" * 65 + " ") * 1000])
def test_hostile_text_is_cheap(text):
    """Nothing, one word, or as many as there is room for; what lies beyond the bound is not looked at."""
    began = time.process_time()

    words = words_of(text, text)

    assert len(words.raw) <= 2 * MAX_BYTES
    assert time.process_time() - began < 0.2
