import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import AssayError, VerificationError
from assay.protocol import merkle
from assay.protocol.merkle import MerkleRoot, compute_path, compute_root, hash_leaf, verify_inclusion
from tools import merkle_vectors

VECTORS = json.loads(merkle_vectors.PATH.read_text(encoding="utf-8"))
TAG = VECTORS["tag"]
HASHES = [bytes.fromhex(text) for text in VECTORS["leaf_hashes"]]


def compute_root_by_rfc(tag, leaves):
    """The definition of RFC 9162, section 2.1.1, with tags: an oracle that splits instead of pairing."""
    prefix = tag.to_bytes(2, "little")
    if not leaves:
        return hashlib.sha256(b"\2" + prefix).digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + prefix + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    left, right = compute_root_by_rfc(tag, leaves[:split]), compute_root_by_rfc(tag, leaves[split:])
    return hashlib.sha256(b"\1" + prefix + left + right).digest()


def make_tree(size, tag=TAG):
    """Return leaf hashes and the committed list over them."""
    hashes = [hash_leaf(tag, b"%d" % number) for number in range(size)]
    return hashes, MerkleRoot(tag, size, compute_root(tag, hashes))


@pytest.mark.parametrize("case", VECTORS["trees"], ids=lambda c: str(c["size"]))
def test_trees_of_the_vectors(case):
    """HSH-5, HSH-6, HSH-7: roots are those of the definition, and every proof holds."""
    leaves = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]][: case["size"]]
    root = bytes.fromhex(case["root"])
    assert root == compute_root_by_rfc(TAG, leaves) == merkle.compute_data_root(TAG, leaves)
    for index, path in enumerate(case["paths"]):
        entries = [bytes.fromhex(entry) for entry in path]
        assert tuple(entries) == compute_path(TAG, HASHES[: case["size"]], index)
        verify_inclusion(MerkleRoot(TAG, case["size"], root), HASHES[index], index, entries)


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda c: c["name"])
def test_refused_proofs(case):
    """HSH-7: wrong index, wrong length, a node as a leaf, an odd leaf twice: each refused with its code."""
    size = case["size"]
    tree = MerkleRoot(TAG, size, bytes.fromhex(VECTORS["trees"][size]["root"]))
    with pytest.raises(VerificationError) as refusal:
        verify_inclusion(
            tree, bytes.fromhex(case["leaf_hash"]), case["index"], [bytes.fromhex(entry) for entry in case["path"]]
        )
    assert refusal.value.code == case["code"]


@given(st.lists(st.binary(max_size=40), max_size=70), st.integers(0, 2**16 - 1))
def test_root_is_that_of_the_definition(leaves, tag):
    """HSH-6: pairing level by level gives the tree of RFC 9162."""
    assert merkle.compute_data_root(tag, leaves) == compute_root_by_rfc(tag, leaves)


@given(st.integers(1, 70), st.data())
def test_inclusion_holds_for_the_right_leaf_alone(size, data):
    """HSH-7: the path of a leaf proves that leaf at that index, and no other leaf and no other index."""
    hashes, tree = make_tree(size)
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    path = compute_path(TAG, hashes, index)
    verify_inclusion(tree, hashes[index], index, path)
    if other != index:
        with pytest.raises(VerificationError):
            verify_inclusion(tree, hashes[index], other, path)
        with pytest.raises(merkle.InclusionRefuted):
            verify_inclusion(tree, hashes[other], index, path)


@given(st.integers(1, 70), st.data())
def test_paths_of_another_length_are_refused(size, data):
    """HSH-7: one entry more or fewer is refused before hashing."""
    hashes, tree = make_tree(size)
    index = data.draw(st.integers(0, size - 1))
    path = list(compute_path(TAG, hashes, index))
    position = data.draw(st.integers(0, len(path)))
    with pytest.raises(merkle.PathLengthRefused):
        verify_inclusion(tree, hashes[index], index, [*path[:position], bytes(32), *path[position:]])
    if path:
        with pytest.raises(merkle.PathLengthRefused):
            verify_inclusion(tree, hashes[index], index, path[:-1])


@given(st.integers(2, 70), st.data())
def test_a_flipped_bit_is_refuted(size, data):
    """HSH-7: any bit of path, leaf or root flipped leads to another root."""
    hashes, tree = make_tree(size)
    index = data.draw(st.integers(0, size - 1))
    path = list(compute_path(TAG, hashes, index))
    entry = data.draw(st.integers(0, len(path) - 1))
    bit = data.draw(st.integers(0, 255))
    path[entry] = (int.from_bytes(path[entry], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(merkle.InclusionRefuted):
        verify_inclusion(tree, hashes[index], index, path)


@given(st.integers(2, 40))
def test_no_second_list_has_the_same_root(size):
    """HSH-5, HSH-6: neither the inner nodes as leaves nor the odd leaf twice give the root of a list."""
    hashes, tree = make_tree(size)
    data = [b"%d" % number for number in range(size)]
    pairs = [hashes[i] + hashes[i + 1] for i in range(0, size - 1, 2)]
    assert merkle.compute_data_root(TAG, pairs) != tree.root
    prefixed = [b"\1" + TAG.to_bytes(2, "little") + pair for pair in pairs]
    assert merkle.compute_data_root(TAG, prefixed) != tree.root
    assert merkle.compute_data_root(TAG, [*data, data[-1]]) != tree.root
    assert compute_root(TAG + 1, hashes) != tree.root


@given(st.integers(0, 300), st.integers(-3, 300))
def test_length_of_a_path_follows_from_index_and_size(size, index):
    """HSH-7: the stated length is that of the path; an index outside is refused whatever the path."""
    hashes, tree = make_tree(min(size, 40))
    if 0 <= index < tree.size:
        assert merkle.compute_path_length(tree.size, index) == len(compute_path(TAG, hashes, index))
    else:
        with pytest.raises(merkle.LeafIndexRefused):
            verify_inclusion(tree, bytes(32), index, ())


def test_a_huge_size_is_checked_at_once():
    """HSH-7: a claimed size of 2**63 − 1 needs 63 entries and no more work than that."""
    tree = MerkleRoot(TAG, 2**63 - 1, bytes(32))
    with pytest.raises(AssayError) as refusal:
        verify_inclusion(tree, bytes(32), 5, [bytes(32)] * 63)
    assert refusal.value.code == "merkle.inclusion"
