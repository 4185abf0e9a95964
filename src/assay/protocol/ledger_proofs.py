"""Proofs that a value is, or is not, in the ledger state under a root.

Shape: a binary tree over the 256 bits of a path, highest bit of the first byte first. A subtree without leaves is the
empty hash; a subtree with one leaf *is* that leaf; any other is the node over its two halves.

Source: `spec/ledger-state.md`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import ClassVar, Final

from assay.errors import MalformedEvidence, Refuted
from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.hashing import tag_bytes

PATH_BITS: Final = 256

_LEAF: Final = b"\x00" + tag_bytes(tags.STATE_TREE)
_NODE: Final = b"\x01" + tag_bytes(tags.STATE_TREE)

EMPTY: Final = sha256(b"\x02" + tag_bytes(tags.STATE_TREE)).digest()
"""Hash of a subtree without leaves (LST-3)."""


class StateProofMalformed(MalformedEvidence):
    """A proof about the ledger state that has no possible form: lengths, depth, or a leaf outside its place."""

    code: ClassVar[str] = "state-proof.malformed"


class StateProofRefuted(Refuted):
    """A proof about the ledger state that leads to another root, or to another value."""

    code: ClassVar[str] = "state-proof.refuted"


class OtherLeaf(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The leaf that stands alone where an absent path would be."""

    path: bytes
    value_hash: bytes


class StateProof(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """From a leaf, or from the empty place where one would be, to the root.

    `siblings` go from the root down: entry i is the other half at depth i. `other` is set in a proof of absence whose
    place is taken by a leaf with another path; None: the value is present, or its place is empty.
    """

    siblings: tuple[bytes, ...]
    other: OtherLeaf | None


def compute_path(contract: int, key: bytes) -> bytes:
    """Return the 32-byte path of a key: SHA-256(u16 contract tag ‖ key) (LST-1)."""
    return sha256(tag_bytes(contract) + key).digest()


def hash_key(key: bytes) -> bytes:
    """Return the path of a key that begins with its contract's tag, as `StateReader` and `query` take it (LST-1)."""
    return sha256(key).digest()


def hash_value(value: bytes) -> bytes:
    """Return SHA-256 of an encoded value (LST-2)."""
    return sha256(value).digest()


def hash_state_leaf(path: bytes, value_hash: bytes) -> bytes:
    """Return the hash of a leaf (LST-2)."""
    return sha256(_LEAF + path + value_hash).digest()


def hash_state_node(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node (LST-3)."""
    return sha256(_NODE + left + right).digest()


def verify_state_proof(root: bytes, contract: int, key: bytes, value: bytes | None, proof: StateProof) -> None:
    """Check that a key has this value under a root, or, with None, that it has no value (LST-5 to LST-7).

    Raises:
        StateProofMalformed: the proof has no possible form.
        StateProofRefuted: it leads to another root.
    """
    path = compute_path(contract, key)
    _verify_form(path, value, proof)
    if value is not None:
        node = hash_state_leaf(path, hash_value(value))
    elif proof.other is not None:
        node = hash_state_leaf(proof.other.path, proof.other.value_hash)
    else:
        node = EMPTY
    bits = int.from_bytes(path, "big")
    for depth in range(len(proof.siblings) - 1, -1, -1):
        sibling = proof.siblings[depth]
        is_right = bits >> (PATH_BITS - 1 - depth) & 1
        node = hash_state_node(sibling, node) if is_right else hash_state_node(node, sibling)
    if node != root:
        raise StateProofRefuted("the proof leads to another root", expected=root.hex(), actual=node.hex())


def _verify_form(path: bytes, value: bytes | None, proof: StateProof) -> None:
    depth = len(proof.siblings)
    if depth > PATH_BITS or any(len(sibling) != 32 for sibling in proof.siblings):
        raise StateProofMalformed("siblings have a wrong number or length", expected="at most 256 of 32 bytes")
    other = proof.other
    if other is None:
        return
    if value is not None or len(other.path) != 32 or len(other.value_hash) != 32 or other.path == path:
        raise StateProofMalformed("the other leaf does not belong into this proof")
    shift = PATH_BITS - depth
    if int.from_bytes(other.path, "big") >> shift != int.from_bytes(path, "big") >> shift:
        raise StateProofMalformed("the other leaf stands elsewhere", expected=f"the first {depth} bits of the path")
