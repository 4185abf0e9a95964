"""What a submission is made of outside the ledger: checkpoints as a committed list, and the list of all blobs.

A blob is named by BLAKE3 of its bytes. The bundle of a submission is itself a blob, and names every other one.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.protocol import tags
from assay.protocol.encoding import Record, encode
from assay.protocol.hashing import compute_id
from assay.protocol.merkle import MerkleRoot, compute_path, compute_root, hash_leaf


class Checkpoint(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The state at the boundary of two intervals; a leaf of the committed list of checkpoints."""

    step: int
    state_root: bytes
    manifest: bytes  # id of the manifest of the stored state; 32 zero bytes: not stored, it can be recomputed
    nbytes: int


class CheckpointList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All checkpoints of a run: entry i is the state before interval i, the last one the final state."""

    version: int
    checkpoints: tuple[Checkpoint, ...]


class CheckpointOpening(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One entry of the committed list, with its inclusion path."""

    checkpoint: Checkpoint
    path: tuple[bytes, ...]


class Manifest(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How a stored state is cut into chunks."""

    version: int
    chunk_size: int
    length: int
    chunks: tuple[bytes, ...]  # BLAKE3 of each chunk


class BundleEntry(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One blob: what it is, its BLAKE3 and its length."""

    name: str  # printable ASCII; never used as a path
    digest: bytes
    nbytes: int


class Bundle(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every blob of a submission, sorted by name."""

    version: int
    entries: tuple[BundleEntry, ...]


def compute_manifest_id(manifest: Manifest) -> bytes:
    """Return the id by which a checkpoint names its manifest."""
    return compute_id(tags.MANIFEST, manifest)


def hash_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the leaf hash of one checkpoint in the committed list."""
    return hash_leaf(tags.CHECKPOINT_TREE, encode(checkpoint))


def compute_checkpoints(checkpoints: Sequence[Checkpoint]) -> MerkleRoot:
    """Return the committed list of checkpoints."""
    hashes = [hash_checkpoint(checkpoint) for checkpoint in checkpoints]
    return MerkleRoot(tags.CHECKPOINT_TREE, len(hashes), compute_root(tags.CHECKPOINT_TREE, hashes))


def open_checkpoint(checkpoints: Sequence[Checkpoint], index: int) -> CheckpointOpening:
    """Return one entry of the list with its path."""
    hashes = [hash_checkpoint(checkpoint) for checkpoint in checkpoints]
    return CheckpointOpening(checkpoints[index], compute_path(tags.CHECKPOINT_TREE, hashes, index))
