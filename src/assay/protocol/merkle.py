"""Merkle trees of the shape of RFC 9162, section 2.1, with a tag in every hash.

leaf = SHA-256(0x00 ‖ tag ‖ data), node = SHA-256(0x01 ‖ tag ‖ left ‖ right), empty root = SHA-256(0x02 ‖ tag).

Source: FORMATS, "Encoding and hashing"; `spec/hashing.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from assay.errors import MalformedEvidence, Refuted
from assay.protocol.encoding import Record
from assay.protocol.hashing import tag_bytes


class MerkleRoot(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A committed list: which kind of list, how many leaves, and the root over them."""

    tag: int
    size: int
    root: bytes


def hash_leaf(tag: int, data: bytes) -> bytes:
    """Return the hash of one leaf."""
    return sha256(b"\x00" + tag_bytes(tag) + data).digest()


def hash_node(tag: int, left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + tag_bytes(tag) + left + right).digest()


def compute_root(tag: int, leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, O(n) time."""
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
    """Check that `leaf_hash` stands at `index` of `tree`.

    Raises:
        MalformedEvidence: the index or the length of the path is impossible for this size.
        Refuted: the path leads to another root.
    """
    if not 0 <= index < tree.size:
        raise MalformedEvidence("leaf index outside the tree", expected=f"0 to {tree.size - 1}", actual=index)
    position, last, node, steps = index, tree.size - 1, leaf_hash, iter(path)
    used = 0
    while last:
        if position % 2 or position < last:
            sibling = next(steps, None)
            if sibling is None or len(sibling) != 32:
                raise MalformedEvidence("inclusion path is too short", actual=len(path))
            used += 1
            node = hash_node(tree.tag, sibling, node) if position % 2 else hash_node(tree.tag, node, sibling)
        position //= 2
        last //= 2
    if used != len(path):
        raise MalformedEvidence("inclusion path is too long", expected=used, actual=len(path))
    if node != tree.root:
        raise Refuted("inclusion path leads to another root", expected=tree.root.hex(), actual=node.hex())
