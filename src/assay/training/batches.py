"""What a step leaf says about its batch: which samples, and which bytes were fed.

Source: `spec/data.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from blake3 import blake3

from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence.data import BatchField
from assay.protocol.hashing import ZERO, tag_bytes
from assay.protocol.merkle import compute_root
from assay.training.arrays import TYPE_NAMES, Array, view_bytes
from assay.training.digests import Prepared, compute_root_from, prepare
from assay.training.packed import Hashes, compute_tree_root, prepare_node


def compute_membership(leaf_hashes: Hashes) -> bytes:
    """Return the Merkle root over the data leaves of a batch, equal to `evidence.data.compute_membership`.

    Args:
        leaf_hashes: of the batch's samples in batch order, shape (batch, 32).
    """
    return compute_tree_root(tags.MEMBERSHIP_TREE, leaf_hashes)


def compute_content(fields: Sequence[Array]) -> bytes:
    """Return the Merkle root over a batch as it is fed, equal to `evidence.data.compute_content`.

    Args:
        fields: the collated arrays in the order of the batch; bfloat16 as `arrays.BF16`.
    """
    return compute_fields_root(tags.CONTENT_TREE, fields)[0]


def compute_losses(results: Sequence[Array]) -> tuple[bytes, list[bytes]]:
    """Return the Merkle root over the tensors that a step returned, and BLAKE3 of each (TRN-8)."""
    return compute_fields_root(tags.LOSS_TREE, results)


def compute_fields_root(tag: int, fields: Sequence[Array]) -> tuple[bytes, list[bytes]]:
    """Return the Merkle root over numbered arrays (`evidence.data.BatchField`) and BLAKE3 of each."""
    leaves, digests = [], []
    for position, array in enumerate(fields):
        leaf = _prepare_leaf(tag, position, TYPE_NAMES[array.dtype], array.shape)()
        digest = blake3(view_bytes(array)).digest()
        digests.append(digest)
        leaf.update(digest)
        leaves.append(leaf.digest())
    root = compute_root_from(prepare_node(tag), leaves) if leaves else compute_root(tag, ())
    return root, digests


@lru_cache(maxsize=1024)
def _prepare_leaf(tag: int, position: int, dtype: str, shape: tuple[int, ...]) -> Prepared:
    """Return what copies a SHA-256 that has read all of the leaf but the digest at its end."""
    record = BatchField(position, dtype, shape, ZERO)
    return prepare(b"\x00" + tag_bytes(tag) + encode(record)[: -len(ZERO)])
