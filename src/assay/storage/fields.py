"""Large arrays of a data set: one file each, mapped when they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from blake3 import blake3

from assay.errors import UsageError
from assay.storage.blobs import DigestMismatch
from assay.storage.files import Buffer, Files, UnsafePath, as_bytes_view, refuse_unless, write_atomic

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CHUNK: Final = 4 * 1024 * 1024


class FieldTaken(UsageError):
    """Other bytes are stored under this name already; committed data are never replaced."""

    code = "storage.field-taken"


class FieldStore:
    """Arrays in one folder, which must exist; `<name>.bin` holds the raw little-endian contiguous bytes.

    The caller keeps digests, element types and shapes.

    Args:
        files: the disk.
        folder: where the arrays lie.
        writable: False: refuse to change anything.
    """

    def __init__(self, files: Files, folder: Path, *, writable: bool = True) -> None:
        self._files = files
        self._folder = folder
        self.writable = writable
        self._views: dict[str, tuple[bytes, memoryview]] = {}

    def put(self, name: str, parts: Iterable[Buffer]) -> bytes:
        """Store an array durably and return the BLAKE3 of its bytes, 32 bytes.

        Args:
            name: letters, digits, `.`, `_`, `-`, at most 100, such as `train.0`.
            parts: the bytes in pieces of any size; they are read once and not kept.

        Raises:
            FieldTaken: other bytes have this name.
            NotWritable: the run was opened for reading.
            StorageError: the disk failed; nothing was stored.
        """
        refuse_unless(self.writable, self._folder)
        path = self._get_path(name)
        if self._files.get_kind(path) != "missing":
            return self._compare(name, parts)
        hasher = blake3()

        def pass_through() -> Iterator[Buffer]:
            for part in parts:
                view = as_bytes_view(part)
                hasher.update(view)
                yield view

        write_atomic(self._files, path, pass_through())
        return hasher.digest()

    def _compare(self, name: str, parts: Iterable[Buffer]) -> bytes:
        hasher = blake3()
        for part in parts:
            hasher.update(as_bytes_view(part))
        digest = hasher.digest()
        stored = _compute_digest(self._files.map_read(self._get_path(name)))
        if stored != digest:
            raise FieldTaken(
                f"the stored data {name} are not these data",
                expected=f"BLAKE3 {stored.hex()}",
                actual=f"BLAKE3 {digest.hex()}",
                next_step="give back the data that the run began with, or start a new run",
            )
        self._files.fsync_dir(self._folder)
        return digest

    def open(self, name: str, digest: bytes) -> memoryview:
        """Return the bytes of an array, mapped and read-only; the first opening verifies all of them.

        Raises:
            FileMissing: it is not stored.
            DigestMismatch: the bytes are not those that `digest` names.
        """
        path = self._get_path(name)
        known = self._views.get(name)
        if known is not None and known[0] == digest:
            return known[1]
        view = self._files.map_read(path)
        actual = _compute_digest(view)
        if actual != digest:
            raise DigestMismatch(path, "the data", digest, actual)
        self._views[name] = (digest, view)
        return view

    def remove_all(self) -> None:
        """Delete all arrays; whoever opens one afterwards is told that it is missing.

        Raises:
            NotWritable: the run was opened for reading.
            StorageError: the disk failed; some may be gone.
        """
        refuse_unless(self.writable, self._folder)
        self._views.clear()
        for name in self._files.list_names(self._folder):
            if _NAME.fullmatch(name.removesuffix(".bin")) and name.endswith(".bin"):
                self._files.unlink(self._folder / name)
        self._files.fsync_dir(self._folder)

    def _get_path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UnsafePath(
                "not a name for stored data", expected="letters, digits, '.', '_', '-', at most 100", actual=ascii(name)
            )
        return self._folder / f"{name}.bin"


def _compute_digest(view: memoryview) -> bytes:
    hasher = blake3()
    for start in range(0, view.nbytes, _CHUNK):
        hasher.update(view[start : start + _CHUNK])
    return hasher.digest()
