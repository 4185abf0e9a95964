"""The samples of a data set in one array per field, and the hashes over them.

Source: `spec/data.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import msgspec
import numpy as np
import numpy.typing as npt
from blake3 import blake3

from assay.errors import MalformedEvidence, Refuted, UsageError
from assay.kernels import sha256
from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence.collation import Padding
from assay.protocol.evidence.data import (
    CANONICALISATION,
    VERSION,
    DataLeaf,
    FieldSchema,
    SampleContent,
    SampleField,
    Schema,
    compute_schema_id,
)
from assay.protocol.evidence.plan import DataSet
from assay.protocol.evidence.program import MAX_EXTENT
from assay.protocol.hashing import ZERO, tag_bytes
from assay.protocol.merkle import MerkleRoot, compute_root
from assay.training.arrays import TYPE_NAMES, Array, view_bytes
from assay.training.digests import Prepared, compute_root_from, prepare

Hashes = npt.NDArray[np.uint8]
"""Digests as one array of shape (n, 32)."""

Progress = Callable[[int, int], None]
"""Is told how many samples are done, of how many."""

PROGRESS_EVERY = 1000


class RaggedData(UsageError):
    """Samples of different shapes cannot be stacked into a batch."""

    code = "data.ragged"


class MalformedData(MalformedEvidence):
    """Stored arrays that do not hold the samples that they should."""

    code = "data.malformed"


class DataMismatch(Refuted):
    """The samples are not those that were committed to."""

    code = "data.mismatch"


@dataclass(frozen=True)
class PackedField:
    """One field of all n samples.

    Args:
        name: its path in the sample.
        values: shape (n, *shape) where all samples have one shape; else all elements, flat.
        shapes: None where all samples have one shape; else the shape of each, i64 of shape (n, dimensions).
    """

    name: str
    values: Array
    shapes: npt.NDArray[np.int64] | None = None

    @property
    def dtype(self) -> str:
        """The element type, a key of `model_state.DTYPES`."""
        return TYPE_NAMES[self.values.dtype]

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of every sample, or None."""
        return self.values.shape[1:] if self.shapes is None else None

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each sample of a ragged field begins in `values`, and the end; in elements, shape (n + 1,)."""
        shapes = np.empty((0, 0), np.int64) if self.shapes is None else self.shapes
        return np.concatenate([[0], np.cumsum(np.prod(shapes, axis=1, dtype=np.int64))])

    def is_consistent(self, size: int) -> bool:
        """Whether the arrays hold this field of `size` samples."""
        if self.values.dtype not in TYPE_NAMES or not self.values.ndim:
            return False
        if self.shapes is None:
            return len(self.values) == size
        if self.shapes.dtype != np.int64 or self.shapes.ndim != 2 or len(self.shapes) != size or self.values.ndim != 1:
            return False
        fits = not self.shapes.size or (self.shapes.min() >= 0 and self.shapes.max() < MAX_EXTENT)
        in_reals = np.prod(self.shapes, axis=1, dtype=np.float64).sum()  # does not wrap around
        return bool(fits and in_reals == len(self.values) == self.offsets[-1])

    @cached_property
    def varying(self) -> npt.NDArray[np.bool_]:
        """Which extents differ between samples; shape (dimensions,)."""
        if self.shapes is None:
            return np.zeros(0, np.bool_)
        differs: npt.NDArray[np.bool_] = self.shapes.max(axis=0) != self.shapes.min(axis=0)
        return differs

    def pad(self, indices: npt.NDArray[np.int64], multiple: int, fill: int) -> Array:
        """Return the samples at `indices`, padded with `fill` to one shape (DAT-15)."""
        if self.shapes is None:
            raise RaggedData("a field of one shape needs no padding")
        largest = self.shapes[indices].max(axis=0)
        extents = np.where(self.varying, -(-largest // multiple) * multiple, largest)
        padded = np.zeros((len(indices), *extents.tolist()), self.values.dtype)
        if fill:
            padded[...] = fill
        for place, index in enumerate(indices.tolist()):
            sample = self.get_sample(index)
            box: tuple[int | slice, ...] = (place, *map(slice, sample.shape))
            padded[box] = sample
        return padded

    def get_sample(self, index: int) -> Array:
        """Return this field of one sample, a view."""
        if self.shapes is None:
            return self.values[index : index + 1].reshape(self.values.shape[1:])
        shape = tuple(self.shapes[index].tolist())
        return self.values[self.offsets[index] : self.offsets[index + 1]].reshape(shape)


@dataclass(frozen=True)
class PackedData:
    """A data set as arrays: what is stored, mapped into memory and gathered from.

    Args:
        size: n, the number of samples.
        fields: in the order of the sample.
        salt_key: 32 bytes from which the salts of the leaves are made, or empty.

    Raises:
        MalformedData: an array of another length, or shapes that do not add up.
    """

    size: int
    fields: tuple[PackedField, ...]
    salt_key: bytes = b""

    def __post_init__(self) -> None:
        for field in self.fields:
            if not field.is_consistent(self.size):
                raise MalformedData(f"stored field {field.name!r} does not hold {self.size} samples")

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def is_ragged(self) -> bool:
        """Whether some field has samples of different shapes."""
        return any(field.shapes is not None for field in self.fields)

    def gather(self, indices: npt.NDArray[np.int64], padding: Padding | None = None) -> list[Array]:
        """Return the samples at `indices`, collated (DAT-12, DAT-15): per field, shape (batch, *shape).

        Raises:
            RaggedData: samples differ in shape and are not padded.
        """
        if padding is None and self.is_ragged:
            names = [field.name for field in self.fields if field.shapes is not None]
            raise RaggedData(
                "samples of different shapes cannot be stacked",
                expected="one shape in all samples",
                actual="different shapes in " + ", ".join(map(repr, names)),
                next_step="pad: run.loader(..., pad=0), or pad the samples to one shape in the data set",
            )
        fills = (0,) * len(self.fields) if padding is None else padding.fills
        multiple = 1 if padding is None else padding.multiple
        return [
            field.values.take(indices, axis=0) if field.shapes is None else field.pad(indices, multiple, fill)
            for field, fill in zip(self.fields, fills, strict=True)
        ]

    def get_sample(self, index: int) -> list[Array]:
        """Return the fields of one sample, as views."""
        return [field.get_sample(index) for field in self.fields]

    def get_schema(self) -> Schema:
        """Return the schema."""
        return Schema(VERSION, tuple(FieldSchema(field.name, field.dtype, field.shape) for field in self.fields))

    def compute_hashes(self, progress: Progress | None = None) -> tuple[Hashes, Hashes]:
        """Return the hashes of the data leaves and the content digests, each of shape (n, 32), from the bytes."""
        heads = prepare(b"\x00" + tag_bytes(tags.DATA_TREE))
        contents = prepare(tag_bytes(tags.DATA_CONTENT))
        leaf_parts, content_parts = [], []
        salts = make_salts(self.salt_key, self.size)
        encode_value = msgspec.msgpack.Encoder().encode
        start = encode(DataLeaf(VERSION, 0, b"", ()))[:2]  # the array header and the version
        content_start = encode(SampleContent(VERSION, ()))[:2]
        for index, fields in enumerate(self._iterate_fields()):
            leaf = heads()
            leaf.update(start + encode_value(index) + encode_value(salts[32 * index : 32 * index + 32]) + fields)
            leaf_parts.append(leaf.digest())
            content = contents()
            content.update(content_start + fields)
            content_parts.append(content.digest())
            if progress is not None and index % PROGRESS_EVERY == 0:
                progress(index, self.size)
        return to_hashes(leaf_parts), to_hashes(content_parts)

    def _iterate_fields(self) -> Iterator[bytes]:
        """Yield the encoded list of fields of each sample."""
        count = len(self.fields)
        head = msgspec.msgpack.encode([None] * count)[:-count]  # only the header of the list
        if not self.is_ragged:
            yield from self._iterate_uniform_fields(head)
            return
        for index in range(self.size):
            encoded = head
            for field in self.fields:
                value = field.get_sample(index)
                digest = blake3(view_bytes(value)).digest()
                encoded += encode(SampleField(field.name, field.dtype, value.shape, digest))
            yield encoded

    def _iterate_uniform_fields(self, head: bytes) -> Iterator[bytes]:
        columns = []
        for field in self.fields:
            shape = field.values.shape[1:]
            prefix = encode(SampleField(field.name, field.dtype, shape, ZERO))[: -len(ZERO)]
            buffer = view_bytes(field.values)
            columns.append((prefix, buffer, len(buffer) // self.size if self.size else 0))
        for index in range(self.size):
            encoded = head
            for prefix, buffer, nbytes in columns:
                encoded += prefix + blake3(buffer[index * nbytes : (index + 1) * nbytes]).digest()
            yield encoded

    def describe(self, leaf_hashes: Hashes) -> DataSet:
        """Return the record of this data set that a plan holds."""
        root = MerkleRoot(tags.DATA_TREE, self.size, compute_tree_root(tags.DATA_TREE, leaf_hashes))
        return DataSet(root, compute_schema_id(self.get_schema()), CANONICALISATION, bool(self.salt_key))

    def verify_commitment(self, record: DataSet, progress: Progress | None = None) -> Hashes:
        """Recompute every leaf from the bytes, compare with a commitment, and return the leaf hashes, shape (n, 32).

        Raises:
            DataMismatch: these are not the samples that were committed to.
        """
        if self.size != record.leaves.size:
            raise DataMismatch("another number of samples", expected=record.leaves.size, actual=self.size)
        leaf_hashes, _ = self.compute_hashes(progress)
        found = self.describe(leaf_hashes)
        if found.schema != record.schema:
            raise DataMismatch(
                "the samples have another schema", expected=record.schema.hex(), actual=self.get_schema()
            )
        if found != record:
            raise DataMismatch(
                "the samples are not those that were committed to",
                expected=record.leaves.root.hex(),
                actual=found.leaves.root.hex(),
                next_step="restore the data as they were when the run began",
            )
        return leaf_hashes


def make_salts(key: bytes, size: int) -> bytes:
    """Return 32 bytes of salt per leaf, or nothing without a key: keyed BLAKE3's extended output."""
    return blake3(b"", key=key).digest(length=32 * size) if key else b""


def to_hashes(digests: list[bytes]) -> Hashes:
    """Return digests of 32 bytes as one array of shape (n, 32)."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def compute_tree_root(tag: int, hashes: Hashes) -> bytes:
    """Return the Merkle root over leaf hashes of shape (n, 32); equal to `merkle.compute_root`."""
    if not len(hashes):
        return compute_root(tag, ())
    if sha256.is_available():
        return sha256.compute_joined_root(tag, hashes.tobytes())
    node, raw = prepare_node(tag), hashes.tobytes()
    above = []
    for start in range(0, len(raw) - 32, 64):  # pairs of leaves are neighbours already
        digest = node()
        digest.update(raw[start : start + 64])
        above.append(digest.digest())
    if len(hashes) % 2:
        above.append(raw[-32:])
    return compute_root_from(node, above)


@lru_cache(maxsize=64)
def prepare_node(tag: int) -> Prepared:
    """Return what copies a SHA-256 that has read the prefix of an inner node."""
    return prepare(b"\x01" + tag_bytes(tag))
