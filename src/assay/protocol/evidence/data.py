"""What a data set is made of: its leaves, its schema, and what a batch commits to.

A sample is a list of named fields, in the order in which its containers are walked. The name of a field is its path:
'#' and the position in a list or tuple, the key in a dict (keys in bytewise order), components joined by '/', and the
empty name where the sample is a single value.

Source: `spec/data.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.protocol import tags
from assay.protocol.encoding import Record, encode
from assay.protocol.hashing import compute_id
from assay.protocol.merkle import compute_data_root, compute_root, hash_leaf

VERSION = 0

CANONICALISATION = 0
"""Version of the rules that turn what `dataset[i]` returns into fields."""


class SampleField(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One field of one sample: BLAKE3 of its raw little-endian contiguous bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: bytes


class DataLeaf(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One sample of a committed data set (DAT-5)."""

    version: int
    index: int
    salt: bytes  # empty, or 32 bytes that hide a guessable sample
    fields: tuple[SampleField, ...]


class SampleContent(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One sample wherever it stands: a data leaf without index and salt, for overlap and duplicates."""

    version: int
    fields: tuple[SampleField, ...]


class FieldSchema(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What all samples have in common in one field."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None  # None: not the same in all samples


class Schema(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of a data set, in their order."""

    version: int
    fields: tuple[FieldSchema, ...]


class BatchField(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One field of a batch as it was fed to the step."""

    position: int
    dtype: str
    shape: tuple[int, ...]
    digest: bytes


def hash_data_leaf(leaf: DataLeaf) -> bytes:
    """Return the hash of a data leaf in its tree (DAT-6)."""
    return hash_leaf(tags.DATA_TREE, encode(leaf))


def compute_content_digest(content: SampleContent) -> bytes:
    """Return the digest of a sample's content (DAT-7)."""
    return compute_id(tags.DATA_CONTENT, content)


def compute_schema_id(schema: Schema) -> bytes:
    """Return the digest by which a plan names a schema (DAT-8)."""
    return compute_id(tags.SCHEMA, schema)


def compute_membership(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the Merkle root over the hashes of a batch's data leaves, in batch order (DAT-10)."""
    return compute_root(tags.MEMBERSHIP_TREE, leaf_hashes)


def compute_content(fields: Sequence[BatchField]) -> bytes:
    """Return the Merkle root over the fields of a batch as it was fed (DAT-11)."""
    return compute_data_root(tags.CONTENT_TREE, [encode(field) for field in fields])
