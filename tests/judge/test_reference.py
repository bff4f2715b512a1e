"""The opaque reference token on the way out."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.judge.reference import account_tag, make_token, read_token
from penstock.model import make_id

KEY = b"k" * 32


def test_a_token_leads_back_to_its_decision():
    """Whatever case and blanks a report adds."""
    id = make_id(1_700_000_000.0, 12345)

    assert read_token(f"  {make_token(id, KEY).upper()} ", KEY) == id


def test_a_token_cannot_be_made_without_the_key():
    """Another key's token, and any change of a token, is none of ours."""
    token = make_token(make_id(1.0, 1), KEY)

    assert read_token(token, b"x" * 32) is None
    assert all(read_token(token[:at] + "0" + token[at + 1 :], KEY) is None for at in range(20) if token[at] != "0")


def test_the_account_tag_is_stable_and_keyed():
    """The same account has the same pseudonym, and another key another one."""
    assert account_tag("sasl:a@b", KEY) == account_tag("sasl:a@b", KEY) != account_tag("sasl:a@b", b"x")


def test_ids_sort_by_time():
    """A later id is greater, so that pages can be cut by id."""
    assert make_id(1_700_000_000.0, (1 << 50) - 1) < make_id(1_700_000_000.001, 0)
    assert len(make_id(4e9, 0)) == 20


@given(st.text())
def test_garbage_is_no_token(text):
    """Any text is read without an error."""
    assert read_token(text, KEY) is None
