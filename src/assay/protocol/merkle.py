"""Merkle trees of the shape of RFC 9162, section 2.1, with a tag in every hash.

leaf = SHA-256(0x00 ‖ tag ‖ data), node = SHA-256(0x01 ‖ tag ‖ left ‖ right), empty root = SHA-256(0x02 ‖ tag).

Source: `spec/hashing.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import ClassVar

from assay.errors import MalformedEvidence, Refuted
from assay.protocol.encoding import Record
from assay.protocol.hashing import tag_bytes


class LeafIndexRefused(MalformedEvidence):
    """An index that no leaf of this tree has."""

    code: ClassVar[str] = "merkle.leaf-index"


class PathLengthRefused(MalformedEvidence):
    """An inclusion path that is longer or shorter than the one path of this leaf, or holds no hashes."""

    code: ClassVar[str] = "merkle.path-length"


class InclusionRefuted(Refuted):
    """A leaf that does not stand where it is said to stand."""

    code: ClassVar[str] = "merkle.inclusion"


class MerkleRoot(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A committed list: which kind of list, how many leaves, and the root over them."""

    tag: int
    size: int
    root: bytes


def hash_leaf(tag: int, data: bytes) -> bytes:
    """Return the hash of one leaf (HSH-5)."""
    return sha256(b"\x00" + tag_bytes(tag) + data).digest()


def hash_node(tag: int, left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (HSH-5)."""
    return sha256(b"\x01" + tag_bytes(tag) + left + right).digest()


def compute_root(tag: int, leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, O(n) time; the last of an odd number moves up as it is (HSH-5, HSH-6)."""
    if not leaf_hashes:
        return sha256(b"\x02" + tag_bytes(tag)).digest()
    prefix = b"\x01" + tag_bytes(tag)
    level = list(leaf_hashes)
    while len(level) > 1:
        pairs = [sha256(prefix + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            pairs.append(level[-1])
        level = pairs
    return level[0]


def compute_data_root(tag: int, leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf data."""
    return compute_root(tag, [hash_leaf(tag, leaf) for leaf in leaves])


def compute_path(tag: int, leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the inclusion path of leaf `index`, from the leaf upwards."""
    path = []
    level = list(leaf_hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = [
            hash_node(tag, level[i], level[i + 1]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)
        ]
        index //= 2
    return tuple(path)


def verify_inclusion(tree: MerkleRoot, leaf_hash: bytes, index: int, path: Sequence[bytes]) -> None:
    """Check that `leaf_hash` stands at `index` of `tree` (HSH-7).

    The length of the path is that of this index and size, no more and no less: a node can't pass for a leaf.

    Args:
        tree: the committed list.
        leaf_hash: of `hash_leaf`, computed by the caller from the leaf's data.
        index: 0 to size − 1.
        path: sibling hashes from the leaf upwards.

    Raises:
        LeafIndexRefused: the tree has no such leaf.
        PathLengthRefused: the length of the path is impossible for this index and size.
        InclusionRefuted: the path leads to another root.
    """
    if not 0 <= index < tree.size:
        raise LeafIndexRefused("leaf index outside the tree", expected=f"0 to {tree.size - 1}", actual=index)
    if len(path) != compute_path_length(tree.size, index) or any(len(sibling) != 32 for sibling in path):
        raise PathLengthRefused(
            "inclusion path has a wrong length",
            expected=f"{compute_path_length(tree.size, index)} hashes of 32 bytes",
            actual=f"{len(path)} entries, {sum(map(len, path))} bytes",
        )
    position, last, node, steps = index, tree.size - 1, leaf_hash, iter(path)
    while last:
        if position % 2:
            node = hash_node(tree.tag, next(steps), node)
        elif position < last:
            node = hash_node(tree.tag, node, next(steps))
        position //= 2
        last //= 2
    if node != tree.root:
        raise InclusionRefuted("inclusion path leads to another root", expected=tree.root.hex(), actual=node.hex())


def compute_path_length(size: int, index: int) -> int:
    """Return the number of hashes in the inclusion path of leaf `index` of `size` leaves, 0 ≤ index < size (HSH-7)."""
    length, last = 0, size - 1
    while last:
        length += index % 2 or index < last
        index //= 2
        last //= 2
    return length
