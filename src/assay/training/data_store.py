"""Committed data sets inside a run: the packed arrays and a manifest that names them.

Source: `spec/data.md`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from assay.errors import MalformedEvidence
from assay.protocol.encoding import Record, decode, encode
from assay.protocol.evidence.plan import DataSet
from assay.storage.fields import FieldStore
from assay.storage.run_directory import RunDirectory
from assay.training.arrays import NUMPY_TYPES, Array, view_bytes
from assay.training.packed import PackedData, PackedField


class StoredField(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One field of all samples: shape of a sample, BLAKE3 of the whole array, and of the shapes if they differ."""

    name: str
    dtype: str
    shape: tuple[int, ...]  # () where samples differ in shape
    digest: bytes
    shapes: bytes  # BLAKE3 of i64 (n, dimensions), or empty


class DataManifest(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The arrays of one data set."""

    version: int
    data: DataSet
    size: int
    salt_key: bytes
    fields: tuple[StoredField, ...]


class DataHome(Protocol):
    """What data are read from: a run, however it was opened."""

    @property
    def fields(self) -> FieldStore:
        """The arrays."""
        ...

    def read_object(self, name: str) -> bytes:
        """Return the bytes of an object."""
        ...


def count_bytes(packed: PackedData) -> int:
    """Return how many bytes the arrays take."""
    return sum(field.values.nbytes for field in packed.fields)


def store_data(run: RunDirectory, name: str, packed: PackedData, data: DataSet) -> None:
    """Store a data set durably under `name`; storing the same one again changes nothing.

    Raises:
        FieldTaken, ObjectTaken: another data set has this name.
        DiskFull: it does not fit; nothing was stored.
    """
    if not run.has_object(f"{name}.bin"):
        run.check_free_space(count_bytes(packed))
    fields = []
    for index, field in enumerate(packed.fields):
        digest = run.fields.put(f"{name}.{index}", [view_bytes(field.values)])
        shapes = b""
        if field.shapes is not None:
            shapes = run.fields.put(f"{name}.{index}.shapes", [view_bytes(field.shapes)])
        fields.append(StoredField(field.name, field.dtype, field.shape or (), digest, shapes))
    run.write_object(f"{name}.bin", encode(DataManifest(0, data, packed.size, packed.salt_key, tuple(fields))))


def open_data(run: DataHome, name: str) -> tuple[DataSet, PackedData]:
    """Return a stored data set, its arrays mapped from the disk; whoever relies on it verifies the commitment.

    Raises:
        MalformedEvidence: the manifest does not fit the arrays.
        DigestMismatch: an array is not as it was written.
    """
    manifest = decode(run.read_object(f"{name}.bin"), DataManifest)
    fields = []
    for index, stored in enumerate(manifest.fields):
        kind = NUMPY_TYPES.get(stored.dtype)
        view = run.fields.open(f"{name}.{index}", stored.digest)
        if kind is not None and len(view) % np.dtype(kind).itemsize:
            raise MalformedEvidence(f"field {stored.name!r} of {name} holds a part of an element")
        if kind is None or any(extent < 0 for extent in stored.shape):
            raise MalformedEvidence(f"field {stored.name!r} of {name} has an unknown type", actual=stored.dtype)
        if stored.shapes:
            fields.append(_open_ragged(run, f"{name}.{index}", stored, manifest.size, np.frombuffer(view, dtype=kind)))
            continue
        count = manifest.size * int(np.prod(stored.shape, dtype=object))
        if count * np.dtype(kind).itemsize != len(view):
            raise MalformedEvidence(f"field {stored.name!r} of {name} has another size", expected=count)
        array = np.frombuffer(view, dtype=kind).reshape((manifest.size, *stored.shape))
        fields.append(PackedField(stored.name, array))
    return manifest.data, PackedData(manifest.size, tuple(fields), manifest.salt_key)


def _open_ragged(run: DataHome, name: str, stored: StoredField, size: int, values: Array) -> PackedField:
    view = run.fields.open(f"{name}.shapes", stored.shapes)
    if stored.shape or not size or len(view) % (8 * size):
        raise MalformedEvidence(f"the shapes of field {stored.name!r} do not fit {size} samples")
    return PackedField(stored.name, values, np.frombuffer(view, dtype=np.int64).reshape(size, -1))
