"""The configuration: explains itself, and reports every fault with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import ConfigurationError, Settings, explain, load_settings, parse_settings


def test_the_explained_file_is_the_default():
    """What `penstock config explain` prints can be used as it is and changes nothing."""
    assert Settings() == parse_settings("\n".join(explain()))


def test_every_setting_is_explained():
    """No field is without prose, except the tables, whose class has it, and the obvious."""
    lines = list(explain())
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if " = " in line and not line.startswith("#") and not before.startswith("#")
    ]

    assert len(bare) <= 20


CASES = {
    'smtp.listen = ["2525"]': 'smtp.listen[0]: "2525" has no address; write "127.0.0.1:2525"',
    'smtp.listen = ["127.0.0.1:2525"]': "smtp.listen needs next_hop.address",
    "colour = 1": "colour: no such setting",
    'judge.mode = "x"': "judge.mode: 'x' is not accepted",
    'store.valkey = "valkey://x"': "store: valkey and postgres go together",
    '[pools.choose]\npoor = "b"': 'no pool is named "b"',
    '[pools]\nnamed = { b = {} }\nchoose = { pear = "b" }': "no such standing or kind",
    '[[identity.extractors]]\nsource = "header"\npattern = "("': "is no regular expression",
    '[[identity.extractors]]\nsource = "header"\npattern = "x"': "has no group",
    'smtp.trusted_networks = ["300.1.1.1"]': "is no IP address or network",
    "scanners.rspamd.points = [[0.0, -1.5], [1.0, inf]]": "a finite number",
    "scanners.rspamd.points = [[nan, -1.5], [1.0, 2.0]]": "a finite number",
    "= 1": "not TOML",
}


@pytest.mark.parametrize(("text", "wanted"), CASES.items())
def test_a_fault_names_its_place_and_what_is_wanted(text, wanted):
    """An operator's mistake is answered with where, what was found and what is wanted."""
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(text)

    assert wanted in str(raised.value)


def test_all_faults_are_reported_at_once():
    """Nobody has to start five times to find five mistakes."""
    with pytest.raises(ConfigurationError) as raised:
        parse_settings('a = 1\nb = 2\n[judge]\nmode = "x"\n[smtp]\nlisten = ["x"]')

    assert len(raised.value.faults) == 4


POOLS = """
[pools.choose]
default = "nowhere"
pear = "a"
[pools.named.a]
ips = [{ ip = "192.0.2.1", helo = "out1.example.net" }, { ip = "192.0.2.2", warming_since = 2026-11-01 }]
fallback = "b"
[pools.named.b]
ips = [{ ip = "192.0.2.1" }]
fallback = "a"
[pools.named."c d"]
ips = [{ ip = "2001:db8::1" }]
"""


def test_all_faults_of_pools_are_reported_at_once():
    """Choices, fallbacks that go round, an IP in two pools, a name that no transport can have: one line each."""
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(POOLS)

    wanted = ["nowhere", "pear", "leads back to a", "leads back to b", "192.0.2.1 is named.a.ips[0] already", "c d"]
    assert len(raised.value.faults) == len(wanted)
    assert all(one.startswith("pools: ") for one in raised.value.faults)
    assert all(any(one in fault for fault in raised.value.faults) for one in wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('ips = [{ ip = "192.0.2.300" }]', 'pools.named.a.ips[0].ip: "192.0.2.300" is no IP address'),
        ('ips = [{ ip = "2001:db8::1", ip6 = "2001:db8::2" }]', "goes with an IPv4 address"),
        ('ips = [{ ip = "192.0.2.1" }]', "choose: nothing leads to ['a']"),
    ],
)
def test_a_fault_of_an_ip_names_its_place(text, wanted):
    """The pool, the number in its list, and what is wanted."""
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(f"[pools.named.a]\n{text}")

    assert wanted in str(raised.value)


def test_two_pools_are_enough_and_the_shipped_table_knows_their_names():
    """Without `choose`, pools are used for what they are called; a table of one's own replaces it."""
    two = parse_settings("[pools.named]\nnormal = {}\npoor = {}").pools
    own = parse_settings('[pools]\nnamed = { x = {} }\nchoose = { default = "x" }').pools
    none = parse_settings("[pools.named]\nx = {}").pools

    assert two.choices()["new"] == two.choices()["suspect"] == "poor"
    assert two.choices()["bulk"] == two.choices()["default"] == "normal"
    assert own.choices() == {"default": "x"}
    assert none.choices() == {}


def test_a_missing_file_is_a_fault_not_a_traceback(tmp_path):
    """The message names the file."""
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_settings(tmp_path / "nowhere.toml")


@given(st.text(max_size=200))
def test_any_text_is_settings_or_faults(text):
    """Garbage never ends in anything but ConfigurationError."""
    try:
        parse_settings(text)
    except ConfigurationError as error:
        assert error.faults
