"""A person's own signing keys: Ed25519 seeds, one file each, readable by that person alone.

A key file is `keys/NAME.json` below `paths.get_home()`, mode 0600 in a folder of mode 0700. The seed is **not
encrypted**: whoever can read the file can sign. Nothing here prints or logs a seed.

Source: RFC 8032 (a private key is 32 random bytes).
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from assay.errors import StorageError, UsageError
from assay.protocol.decoders import get_json_decoder
from assay.protocol.signatures import get_public_key
from assay.storage.files import Files, naming
from assay.storage.paths import get_home
from assay.storage.secret_files import SecretExists, read_secret, write_new_secret

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_KEY_FILE = 4096
_SUFFIX = ".json"


class KeyNameRefused(UsageError):
    """A name that a key file cannot have."""

    code = "key.name"


class KeyExists(UsageError):
    """There is a key of this name already; keys are never overwritten."""

    code = "key.exists"


class KeyMissing(UsageError):
    """There is no key of this name."""

    code = "key.missing"


class KeyDamaged(StorageError):
    """A key file that does not hold a key in its one form."""

    code = "key.damaged"


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["ed25519"]
    seed: str
    version: Literal[0]

    def __repr__(self) -> str:
        return "_KeyFile(...)"


def create_key(name: str, home: Path | None = None) -> bytes:
    """Make a new key from the operating system's randomness and return its public key, 32 bytes.

    Raises:
        KeyNameRefused: not 1 to 64 of a–z, 0–9, dot, hyphen, underscore.
        KeyExists: there is one of this name already.
        StorageError: the disk.
    """
    path = _get_path(name, home)
    folder = path.parent
    with naming(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed = secrets.token_bytes(32)
    try:
        write_new_secret(path, msgspec.json.encode(_KeyFile("ed25519", seed.hex(), 0)))
    except SecretExists:
        raise KeyExists(f"there is a key {name} already", actual=path, next_step="choose another name") from None
    return get_public_key(seed)


def read_seed(name: str, home: Path | None = None) -> bytes:
    """Return the 32-byte seed of a key.

    Raises:
        KeyMissing: there is none of this name.
        KeyExposed: others may read or change the file.
        KeyDamaged: the file is not in its one form.
        StorageError: the disk.
    """
    path, files = _get_path(name, home), Files()
    if files.get_kind(path) == "missing":
        raise KeyMissing(f"there is no key {name}", actual=path, next_step=f"assay key new {name}")
    data = read_secret(path, MAX_KEY_FILE)
    try:
        held = get_json_decoder(_KeyFile).decode(data)
        seed = bytes.fromhex(held.seed)
    except (msgspec.MsgspecError, ValueError):
        seed, held = b"", None
    if held is None or len(seed) != 32 or msgspec.json.encode(_KeyFile("ed25519", seed.hex(), 0)) != data:
        raise KeyDamaged(f"{path} does not hold a key", expected="an Ed25519 seed in the form that this release writes")
    return seed


def read_or_create_seed(name: str, home: Path | None = None) -> bytes:
    """Return the seed of a key, which is made if there is none of this name.

    Raises:
        KeyExposed, KeyDamaged, StorageError: as `read_seed`.
    """
    try:
        return read_seed(name, home)
    except KeyMissing:
        with suppress(KeyExists):  # another process may have made it in between
            create_key(name, home)
        return read_seed(name, home)


def read_public_key(name: str, home: Path | None = None) -> bytes:
    """Return the 32-byte public key of a key; raises as `read_seed`."""
    return get_public_key(read_seed(name, home))


def list_keys(home: Path | None = None) -> list[str]:
    """Return the names of all keys, sorted.

    Raises:
        StorageError: the disk.
    """
    folder, files = _get_folder(home), Files()
    if files.get_kind(folder) == "missing":
        return []
    names = [name.removesuffix(_SUFFIX) for name in files.list_names(folder) if name.endswith(_SUFFIX)]
    return [name for name in names if NAME.fullmatch(name)]


def _get_folder(home: Path | None) -> Path:
    return (get_home() if home is None else home) / "keys"


def _get_path(name: str, home: Path | None) -> Path:
    if not NAME.fullmatch(name):
        raise KeyNameRefused(
            "not a name for a key", expected="1 to 64 of a-z, 0-9, dot, hyphen, underscore", actual=ascii(name[:80])
        )
    return _get_folder(home) / f"{name}{_SUFFIX}"
