"""A person's own keys: made once, private, never printed."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from assay.protocol.signatures import get_public_key
from assay.storage import keyring
from assay.storage.files import UnsafePath
from assay.storage.secret_files import KeyExposed


def get_path(home, name):
    """Return the file of a key."""
    return home / "keys" / f"{name}.json"


def test_a_key_is_made_and_read(home):
    """The public key that was announced is that of the stored seed."""
    public = keyring.create_key("auditor")
    assert public == keyring.read_public_key("auditor") == get_public_key(keyring.read_seed("auditor"))
    assert keyring.list_keys() == ["auditor"]
    assert keyring.create_key("other") != public


def test_a_key_is_private(home):
    """The file has mode 600 in a folder of mode 700, and nothing else is left there."""
    keyring.create_key("auditor")
    path = get_path(home, "auditor")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["auditor.json"]


def test_a_key_is_never_overwritten(home):
    """A second key of one name is refused, and the first stays."""
    public = keyring.create_key("auditor")
    with pytest.raises(keyring.KeyExists):
        keyring.create_key("auditor")
    assert keyring.read_public_key("auditor") == public


def test_many_processes_get_one_key(home):
    """Whoever comes first makes it; all others read the same."""
    with ThreadPoolExecutor(8) as pool:
        seeds = list(pool.map(lambda _: keyring.read_or_create_seed("recorder"), range(32)))
    assert len(set(seeds)) == 1


def test_a_readable_key_is_refused(home):
    """A key that others may read or write is not used."""
    keyring.create_key("auditor")
    for mode in (0o640, 0o604, 0o620, 0o602):
        get_path(home, "auditor").chmod(mode)
        with pytest.raises(KeyExposed):
            keyring.read_seed("auditor")


def test_a_damaged_key_is_refused_without_showing_it(home):
    """Anything but the one form is refused, and the message does not hold the seed."""
    keyring.create_key("auditor")
    path = get_path(home, "auditor")
    honest = path.read_bytes()
    seed = keyring.read_seed("auditor").hex()
    for data in (b"", honest[:-1], honest + b"\n", honest.replace(seed.encode(), seed[:-2].encode()), b"[]", b"null"):
        path.write_bytes(data)
        with pytest.raises(keyring.KeyDamaged) as caught:
            keyring.read_seed("auditor")
        assert seed[:16] not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "a b", "ä", "-x", "x" * 65, "a\n", "a\0b"])
def test_names_stay_inside_the_folder(name, home):
    """A name that could leave the folder, or be mistaken for an option, is refused."""
    with pytest.raises(keyring.KeyNameRefused):
        keyring.create_key(name)


def test_a_link_is_not_followed(home, tmp_path):
    """A symbolic link in place of a key is refused."""
    keyring.create_key("auditor")
    get_path(home, "linked").symlink_to(get_path(home, "auditor"))
    with pytest.raises((UnsafePath, KeyExposed)):
        keyring.read_seed("linked")


def test_a_missing_key_says_how_to_make_one(home):
    """No key: the next step is the command."""
    assert keyring.list_keys() == []
    with pytest.raises(keyring.KeyMissing, match="assay key new auditor"):
        keyring.read_seed("auditor")
