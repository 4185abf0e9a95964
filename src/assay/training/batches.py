"""What a step leaf says about its batch: which samples, and which bytes were fed.

Source: `spec/data.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from blake3 import blake3

from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence.data import BatchField
from assay.protocol.hashing import ZERO, tag_bytes
from assay.training.arrays import TYPE_NAMES, Array, view_bytes
from assay.training.packed import Hashes, compute_tree_root
from assay.training.state import compute_root_from

if TYPE_CHECKING:
    from hashlib import _Hash

_content_node = sha256(b"\x01" + tag_bytes(tags.CONTENT_TREE)).copy


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
    leaves = []
    for position, array in enumerate(fields):
        leaf = _prepare_leaf(position, TYPE_NAMES[array.dtype], array.shape)()
        leaf.update(blake3(view_bytes(array)).digest())
        leaves.append(leaf.digest())
    return (
        compute_root_from(_content_node, leaves) if leaves else sha256(b"\x02" + tag_bytes(tags.CONTENT_TREE)).digest()
    )


@lru_cache(maxsize=1024)
def _prepare_leaf(position: int, dtype: str, shape: tuple[int, ...]) -> Callable[[], _Hash]:
    """Return what copies a SHA-256 that has read all of the leaf but the digest at its end."""
    record = BatchField(position, dtype, shape, ZERO)
    return sha256(b"\x00" + tag_bytes(tags.CONTENT_TREE) + encode(record)[: -len(ZERO)]).copy
