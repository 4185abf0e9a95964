"""Proofs that a sample is in a committed data set, or is not.

Presence is one leaf and its path. Absence has no short proof in a tree that is sorted by index: it is the list of all
leaves, from which the root follows, and none of which has the content.

Source: `spec/data.md`.
"""

from __future__ import annotations

from typing import ClassVar

from assay.errors import Refuted
from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.evidence.data import (
    VERSION,
    DataLeaf,
    SampleContent,
    compute_content_digest,
    hash_data_leaf,
)
from assay.protocol.evidence.fields import verify_digest, verify_tree, verify_version
from assay.protocol.merkle import MerkleRoot, compute_root, verify_inclusion


class AbsenceRefuted(Refuted):
    """The leaves are not those of the committed data set, or one of them has the content."""

    code: ClassVar[str] = "data-proof.absence"


class ContentRefuted(Refuted):
    """The leaf of a proof is that of another sample."""

    code: ClassVar[str] = "data-proof.content"


class InclusionProof(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A sample stands in a data set (DAT-13)."""

    version: int
    leaves: MerkleRoot
    leaf: DataLeaf
    path: tuple[bytes, ...]


class AbsenceProof(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """No sample of a data set has a content (DAT-14)."""

    version: int
    leaves: MerkleRoot
    content: bytes
    entries: tuple[DataLeaf, ...]


def get_content(leaf: DataLeaf) -> bytes:
    """Return the content digest of the sample of a leaf (DAT-7)."""
    return compute_content_digest(SampleContent(VERSION, leaf.fields))


def verify_presence(proof: InclusionProof, root: bytes, content: bytes) -> None:
    """Check that a sample with this content stands in the data set with this root (DAT-13).

    Raises:
        MalformedEvidence: the proof is not in its form.
        ContentRefuted: its leaf is of another sample, or it is about another data set.
        InclusionRefuted: its path leads elsewhere.
    """
    verify_version(proof.version, "inclusion proof")
    verify_tree(proof.leaves, tags.DATA_TREE, "data set of a proof", 1)
    _verify_root(proof.leaves, root)
    actual = get_content(proof.leaf)
    if actual != content:
        raise ContentRefuted("the proof is about another sample", expected=content.hex(), actual=actual.hex())
    verify_inclusion(proof.leaves, hash_data_leaf(proof.leaf), proof.leaf.index, proof.path)


def verify_absence(proof: AbsenceProof, root: bytes) -> None:
    """Check that no sample of the data set with this root has the content that the proof names (DAT-14).

    Raises:
        MalformedEvidence: the proof is not in its form.
        ContentRefuted: it is about another data set.
        AbsenceRefuted: the leaves are not those of the data set, or one has the content.
    """
    verify_version(proof.version, "absence proof")
    verify_tree(proof.leaves, tags.DATA_TREE, "data set of a proof", 1)
    verify_digest(proof.content, "content of a proof")
    _verify_root(proof.leaves, root)
    if len(proof.entries) != proof.leaves.size or any(leaf.index != i for i, leaf in enumerate(proof.entries)):
        raise AbsenceRefuted("the proof does not list every sample", expected=proof.leaves.size)
    if compute_root(tags.DATA_TREE, [hash_data_leaf(leaf) for leaf in proof.entries]) != root:
        raise AbsenceRefuted("the samples of the proof are not those of the data set", expected=root.hex())
    for leaf in proof.entries:
        if get_content(leaf) == proof.content:
            raise AbsenceRefuted(f"sample {leaf.index} has the content", actual=proof.content.hex())


def _verify_root(tree: MerkleRoot, root: bytes) -> None:
    if tree.root != root:
        raise ContentRefuted("the proof is about another data set", expected=root.hex(), actual=tree.root.hex())
