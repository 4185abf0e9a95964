"""Files that only their owner may read: keys, and what a process must not lose or show.

They are **not encrypted**: whoever can read the file has the secret. Nothing here prints or logs what is in them.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from assay.errors import StorageError, UsageError
from assay.storage.files import Files, naming, read_file


class SecretExists(UsageError):
    """There is a file of this name already; secrets are never overwritten."""

    code = "secret.exists"


class KeyExposed(StorageError):
    """A secret file that others may read or change."""

    code = "key.exposed"


def read_secret(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a secret file.

    Raises:
        KeyExposed: others may read or change it.
        StorageError: the disk.
    """
    with naming(path):
        mode = stat.S_IMODE(path.lstat().st_mode)
    if mode & 0o077:
        raise KeyExposed(
            f"{path} can be read or changed by others",
            expected="mode 600",
            actual=f"mode {mode:o}",
            next_step=f"chmod 600 {path}; if it was exposed, make a new key",
        )
    return read_file(Files(), path, max_bytes)


def write_new_secret(path: Path, data: bytes) -> None:
    """Write a file that must not exist: whole, durable and with mode 0600 before it gets its name.

    Raises:
        SecretExists: there is one of this name; it stays as it is.
        StorageError: the disk.
    """
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    with naming(temporary):
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with naming(temporary), os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with naming(path):
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise SecretExists(f"{path} is there already", next_step="choose another name") from None
    finally:
        with naming(temporary):
            temporary.unlink(missing_ok=True)
    Files().fsync_dir(path.parent)
