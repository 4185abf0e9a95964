"""Trusted keys: one canonical file, replaced as a whole."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from assay.storage import trust_store
from assay.storage.files import FileTooLarge

ONE, TWO = (sha256(name).digest() for name in (b"one", b"two"))


def test_keys_are_added_listed_and_removed(home):
    """What was added is read; what was removed is gone."""
    assert trust_store.read_trust() == {}
    trust_store.add_trust("Prüfstelle Süd", ONE)
    trust_store.add_trust("auditor", TWO)
    trust_store.add_trust("auditor", TWO)
    assert trust_store.read_trust() == {"Prüfstelle Süd": ONE, "auditor": TWO}
    assert trust_store.remove_trust("auditor") == TWO
    assert trust_store.read_trust() == {"Prüfstelle Süd": ONE}
    with pytest.raises(trust_store.TrustMissing):
        trust_store.remove_trust("auditor")


def test_the_file_has_one_form(home):
    """White space, another order, duplicates, extra members: nothing in the file is trusted (CRT-29)."""
    trust_store.add_trust("b", ONE)
    trust_store.add_trust("a", TWO)
    path = home / "trust.json"
    honest = path.read_bytes()
    one, two = ONE.hex().encode(), TWO.hex().encode()
    assert honest == b'{"keys":{"a":"' + two + b'","b":"' + one + b'"},"version":0}\n'
    for data in (
        b"",
        honest[:-1],
        honest + b"\n",
        honest.replace(b":0", b":1"),
        honest.replace(b":0", b": 0"),
        honest.replace(b'"a"', b'"b"'),
        honest.replace(two, one),
        honest.replace(two, two.upper()),
        honest.replace(b'"a"', b'"\\u001b"'),
        b'{"keys":{"b":"' + one + b'","a":"' + two + b'"},"version":0}\n',
        honest.replace(b'{"keys"', b'{"policy":1,"keys"'),
    ):
        path.write_bytes(data)
        with pytest.raises(trust_store.TrustDamaged):
            trust_store.read_trust()


def test_a_name_has_one_key_and_a_key_one_name(home):
    """Neither can be given a second time without removing the first."""
    trust_store.add_trust("a", ONE)
    for name, key in (("a", TWO), ("b", ONE)):
        with pytest.raises(trust_store.TrustNameRefused):
            trust_store.add_trust(name, key)
    assert trust_store.read_trust() == {"a": ONE}


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "\x1b[2J", "a\u202eb", "x" * 81])
def test_names_can_be_printed(name, home):
    """A name that would steer a terminal, or hide at its edges, is refused."""
    with pytest.raises(trust_store.TrustNameRefused):
        trust_store.add_trust(name, ONE)


@pytest.mark.parametrize("text", ["", "00", "0x" + "00" * 31, "AB" * 32, "00" * 33, "0" * 63 + "g"])
def test_keys_have_one_form(text):
    """64 lower-case digits and nothing else."""
    with pytest.raises(trust_store.TrustKeyRefused):
        trust_store.parse_key(text)


def test_commands_at_once_lose_nothing(home):
    """Sixteen additions at once: all of them are there."""
    keys = {f"key {number}": sha256(bytes([number])).digest() for number in range(16)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda entry: trust_store.add_trust(*entry), keys.items()))
    assert trust_store.read_trust() == keys


def test_size_is_bounded(home):
    """A huge file is refused unread."""
    with (home / "trust.json").open("wb") as file:
        file.truncate(trust_store.MAX_STORE + 1)
    with pytest.raises(FileTooLarge):
        trust_store.read_trust()
