"""Whose word counts for this person: names and public keys, in one canonical file.

The file is `trust.json` below `paths.get_home()`: canonical JSON with the keys sorted by name. It is replaced as a
whole, so that a crash leaves the old or the new one. Nothing is ever trusted because it lies beside a certificate.

Source: `spec/certificate.md`, CRT-29.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from assay.errors import StorageError, UsageError
from assay.protocol.decoders import get_json_decoder
from assay.storage.files import Files, FileTaken, OpenFile, naming, read_file, write_atomic
from assay.storage.paths import get_home

MAX_STORE = 1024 * 1024
MAX_NAME = 80
_KEY = re.compile("[0-9a-f]{64}")
_PATIENCE = 100  # tries of 20 ms each


class TrustNameRefused(UsageError):
    """A name for a trusted key that cannot be printed safely, or that another key has."""

    code = "trust.name"


class TrustKeyRefused(UsageError):
    """Text that is no public key."""

    code = "trust.key"


class TrustMissing(UsageError):
    """There is no trusted key of this name."""

    code = "trust.missing"


class TrustDamaged(StorageError):
    """A file of trusted keys that is not in its one form. Nothing in it is trusted."""

    code = "trust.damaged"


class _Store(msgspec.Struct, forbid_unknown_fields=True):
    keys: dict[str, str]
    version: Literal[0]


def parse_key(text: str) -> bytes:
    """Return the public key that 64 hex digits say.

    Raises:
        TrustKeyRefused: anything else.
    """
    if not _KEY.fullmatch(text):
        raise TrustKeyRefused("not a public key", expected="64 lower-case hex digits", actual=ascii(text[:80]))
    return bytes.fromhex(text)


def encode_trust(keys: Mapping[str, bytes]) -> bytes:
    """Return the canonical file of trusted keys."""
    ordered = {name: keys[name].hex() for name in sorted(keys)}
    return msgspec.json.encode(_Store(ordered, 0)) + b"\n"


def decode_trust(data: bytes, path: Path) -> dict[str, bytes]:
    """Return the keys by name that a file says; `path` is for the message.

    Raises:
        TrustDamaged: not in its one form, a name or key that may not be there, or one key under two names.
    """
    try:
        store = get_json_decoder(_Store).decode(data)
        keys = {_check_name(name): parse_key(key) for name, key in store.keys.items()}
    except (msgspec.MsgspecError, RecursionError, ValueError, UsageError) as error:
        raise TrustDamaged(f"{path} does not hold trusted keys", actual=str(error)) from None
    if encode_trust(keys) != data or len(set(keys.values())) != len(keys):
        raise TrustDamaged(f"{path} is not in its one form", next_step="add the keys again with `assay trust add`")
    return keys


def read_trust(home: Path | None = None) -> dict[str, bytes]:
    """Return the trusted keys by name; none if there is no file.

    Raises:
        TrustDamaged: the file is not in its one form.
        StorageError: the disk.
    """
    path, files = _get_path(home), Files()
    if files.get_kind(path) == "missing":
        return {}
    return decode_trust(read_file(files, path, MAX_STORE), path)


def add_trust(name: str, key: bytes, home: Path | None = None) -> None:
    """Trust a key under a name; adding the same pair again does nothing.

    Raises:
        TrustNameRefused: the name cannot be printed safely, or belongs to another key, or the key to another name.
        StorageError: the disk.
    """
    _check_name(name)
    with _locked(home) as path:
        keys = read_trust(home)
        for other, held in keys.items():
            if (other == name) != (held == key):
                raise TrustNameRefused(
                    "a name has one key, and a key one name",
                    expected=f"{other}: {held.hex()}",
                    actual=f"{name}: {key.hex()}",
                    next_step=f"assay trust remove {other}",
                )
        keys[name] = key
        write_atomic(Files(), path, [encode_trust(keys)])


def remove_trust(name: str, home: Path | None = None) -> bytes:
    """Stop trusting the key of this name, and return it.

    Raises:
        TrustMissing: there is none.
        StorageError: the disk.
    """
    with _locked(home) as path:
        keys = read_trust(home)
        if name not in keys:
            raise TrustMissing(
                "no trusted key of this name", expected=", ".join(sorted(keys)) or "none", actual=ascii(name)
            )
        key = keys.pop(name)
        write_atomic(Files(), path, [encode_trust(keys)])
    return key


def _get_path(home: Path | None) -> Path:
    return (get_home() if home is None else home) / "trust.json"


def _check_name(name: str) -> str:
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise TrustNameRefused(
            "not a name for a key", expected=f"1 to {MAX_NAME} printable characters", actual=ascii(name[:MAX_NAME])
        )
    return name


@contextmanager
def _locked(home: Path | None) -> Iterator[Path]:
    """Hold the lock of the store, so that two commands at once lose nothing."""
    path, files = _get_path(home), Files()
    with naming(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _take_lock(files, path.with_name("trust.lock"))
    try:
        yield path
    finally:
        files.close(lock)


def _take_lock(files: Files, path: Path) -> OpenFile:
    for _ in range(_PATIENCE):
        try:
            return files.lock(path)
        except FileTaken:
            time.sleep(0.02)
    return files.lock(path)
