from hashlib import sha256

import msgspec
import pytest

from assay.errors import MalformedEvidence
from assay.protocol import tags
from assay.protocol.evidence.data import DataLeaf, SampleField, hash_data_leaf
from assay.protocol.evidence.data_proof import (
    AbsenceProof,
    AbsenceRefuted,
    ContentRefuted,
    InclusionProof,
    get_content,
    verify_absence,
    verify_presence,
)
from assay.protocol.evidence.fields import FormatVersionRefused, TreeRefused
from assay.protocol.merkle import InclusionRefuted, MerkleRoot, PathLengthRefused, compute_path, compute_root

replace = msgspec.structs.replace
LEAVES = tuple(
    DataLeaf(0, index, b"", (SampleField("", "f32", (2,), sha256(bytes([index // 2])).digest()),)) for index in range(7)
)
HASHES = [hash_data_leaf(leaf) for leaf in LEAVES]
TREE = MerkleRoot(tags.DATA_TREE, 7, compute_root(tags.DATA_TREE, HASHES))
ABSENT = sha256(b"no sample").digest()


def make_presence(index):
    """Return the proof that sample `index` is there."""
    return InclusionProof(0, TREE, LEAVES[index], compute_path(tags.DATA_TREE, HASHES, index))


@pytest.mark.parametrize("index", range(7))
def test_presence_is_proven_at_every_index(index):
    """Each sample has a proof that holds (DAT-13)."""
    verify_presence(make_presence(index), TREE.root, get_content(LEAVES[index]))


def test_a_proof_of_presence_holds_for_nothing_else():
    """Another sample, root, place or version, a cut path: each is refused by its class (DAT-13)."""
    proof, content = make_presence(4), get_content(LEAVES[4])
    with pytest.raises(ContentRefuted):
        verify_presence(proof, TREE.root, get_content(LEAVES[0]))
    with pytest.raises(ContentRefuted):
        verify_presence(proof, bytes(32), content)
    with pytest.raises(InclusionRefuted):
        verify_presence(replace(proof, leaf=replace(LEAVES[4], index=5)), TREE.root, content)
    with pytest.raises(PathLengthRefused):
        verify_presence(replace(proof, path=proof.path[:-1]), TREE.root, content)
    with pytest.raises(FormatVersionRefused):
        verify_presence(replace(proof, version=1), TREE.root, content)
    with pytest.raises(TreeRefused):
        verify_presence(replace(proof, leaves=replace(TREE, tag=tags.MODEL_TREE)), TREE.root, content)


def test_absence_is_proven_by_all_leaves():
    """A content that no leaf has (DAT-14)."""
    verify_absence(AbsenceProof(0, TREE, ABSENT, LEAVES), TREE.root)


def test_a_proof_of_absence_cannot_leave_a_sample_out():
    """A leaf dropped, two exchanged, one replaced, one that has the content, another data set (DAT-14)."""
    for entries in (LEAVES[:-1], (*LEAVES[1::-1], *LEAVES[2:]), (replace(LEAVES[0], salt=bytes(32)), *LEAVES[1:]), ()):
        with pytest.raises(AbsenceRefuted):
            verify_absence(AbsenceProof(0, TREE, ABSENT, entries), TREE.root)
    with pytest.raises(AbsenceRefuted, match="sample 2 has the content"):
        verify_absence(AbsenceProof(0, TREE, get_content(LEAVES[3]), LEAVES), TREE.root)
    with pytest.raises(ContentRefuted):
        verify_absence(AbsenceProof(0, TREE, ABSENT, LEAVES), bytes(32))
    for changes in ({"version": 1}, {"content": b"short"}, {"leaves": replace(TREE, size=0)}):
        with pytest.raises(MalformedEvidence):
            verify_absence(replace(AbsenceProof(0, TREE, ABSENT, LEAVES), **changes), TREE.root)
