import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.protocol import tags
from assay.protocol.ledger_proofs import (
    EMPTY,
    OtherLeaf,
    StateProof,
    StateProofMalformed,
    StateProofRefuted,
    compute_path,
    hash_value,
    verify_state_proof,
)
from assay.protocol.ledger_tree import PlainLedgerTree
from tests.protocol import state_oracle
from tests.protocol.memory_leaves import MemoryLeaves

CONTRACT = tags.ACCOUNTS_CONTRACT

# Paths that share long prefixes, so that forks deep in the tree occur.
NEAR = st.builds(
    lambda start, place, end: bytes([start] * place + end + [0] * (32 - place - len(end))),
    st.sampled_from([0x00, 0xFF, 0xA5]),
    st.integers(0, 30),
    st.lists(st.integers(0, 255), min_size=1, max_size=2),
)
PATHS = st.one_of(NEAR, st.binary(min_size=32, max_size=32))
VALUES = st.binary(min_size=32, max_size=32)
BATCHES = st.lists(st.dictionaries(PATHS, st.one_of(st.none(), VALUES), max_size=12), max_size=6)


def make_leaves(count, seed=1):
    """Return leaves of random paths."""
    chance = random.Random(seed)
    return {chance.randbytes(32): chance.randbytes(32) for _ in range(count)}


def apply(tree, source, changes):
    """Change tree and leaves together; return the new root."""
    root = tree.compute_update(changes)
    source.change(changes)
    tree.apply()
    assert tree.root == root
    return root


def test_domains_are_those_of_the_chapter():
    """LST-1, LST-2, LST-3: path, leaf, node and empty tree, written out."""
    assert tags.STATE_TREE == 0x28
    assert compute_path(0x2A, b"key") == sha256(b"\x2a\x00key").digest()
    assert state_oracle.EMPTY == EMPTY == PlainLedgerTree(MemoryLeaves()).root
    path, value = compute_path(0x2A, b"key"), b"value"
    leaf = sha256(b"\x00\x28\x00" + path + sha256(value).digest()).digest()
    assert PlainLedgerTree(MemoryLeaves({path: hash_value(value)})).root == leaf


@settings(deadline=None)
@given(st.dictionaries(PATHS, VALUES, max_size=20), BATCHES)
def test_batches_give_the_root_of_the_leaves(first, batches):
    """LST-3, LST-4: after each batch the root is that of a tree built from nothing, also with forks of 255 bits."""
    source = MemoryLeaves(first)
    tree = PlainLedgerTree(source)
    for changes in batches:
        root = apply(tree, source, changes)
        assert root == state_oracle.hash_tree(source.leaves)
        assert root == PlainLedgerTree(source).root


def test_a_larger_tree_with_a_cut():
    """LST-4: 3,000 leaves and batches of 200 give the oracle's root; removing all of them gives the empty tree."""
    source = MemoryLeaves(make_leaves(3000))
    tree = PlainLedgerTree(source)
    assert tree.root == state_oracle.hash_tree(source.leaves)
    chance = random.Random(2)
    for _ in range(5):
        known = chance.sample(sorted(source.leaves), 150)
        changes = {path: chance.choice((None, chance.randbytes(32))) for path in known}
        changes |= {chance.randbytes(32): chance.randbytes(32) for _ in range(50)}
        changes |= {chance.randbytes(32): None for _ in range(5)}
        assert apply(tree, source, changes) == state_oracle.hash_tree(source.leaves)
    assert apply(tree, source, dict.fromkeys(source.leaves)) == EMPTY


def test_a_crowded_tree_is_built_again():
    """A tree that grew far beyond its cut gets a deeper one, and has the right root all the time."""
    source = MemoryLeaves()
    tree = PlainLedgerTree(source)
    assert tree._cut == 0
    assert apply(tree, source, make_leaves(100)) == state_oracle.hash_tree(source.leaves)
    assert tree._cut > 0
    assert apply(tree, source, make_leaves(100, seed=5)) == state_oracle.hash_tree(source.leaves)


def test_an_update_changes_nothing_until_it_is_applied():
    """LST-4: computing an update leaves the tree as it was."""
    source = MemoryLeaves(make_leaves(50))
    tree = PlainLedgerTree(source)
    before = tree.root
    assert tree.compute_update(make_leaves(10, seed=3)) != before
    assert tree.root == before
    assert tree.compute_update({}) == before


@settings(deadline=None)
@given(st.dictionaries(st.binary(max_size=3), st.binary(max_size=8), max_size=40), st.binary(max_size=3), st.data())
def test_proofs_hold_for_the_truth_and_for_nothing_else(values, key, data):
    """LST-5, LST-6, LST-7: the proof of a key holds for its value or its absence, and for no other."""
    source = MemoryLeaves({compute_path(CONTRACT, k): hash_value(v) for k, v in values.items()})
    tree = PlainLedgerTree(source)
    key = data.draw(st.sampled_from(sorted(values))) if values and data.draw(st.booleans()) else key
    proof = tree.prove(compute_path(CONTRACT, key))
    siblings, rest = state_oracle.list_siblings(source.leaves, compute_path(CONTRACT, key))
    assert list(proof.siblings) == siblings
    assert (proof.other is not None) == (bool(rest) and key not in values)
    verify_state_proof(tree.root, CONTRACT, key, values.get(key), proof)
    for wrong in {None, b"", b"another"} - {values.get(key)}:
        with pytest.raises((StateProofRefuted, StateProofMalformed)):
            verify_state_proof(tree.root, CONTRACT, key, wrong, proof)


PROVEN = {bytes([i]): b"value %d" % i for i in range(60)}


def make_proof(key):
    """Return the root over PROVEN and the proof of a key."""
    tree = PlainLedgerTree(MemoryLeaves({compute_path(CONTRACT, k): hash_value(v) for k, v in PROVEN.items()}))
    return tree.root, tree.prove(compute_path(CONTRACT, key))


def find_absent(*, with_other):
    """Return a key that is absent because another leaf, or nothing, stands in its place."""
    return next(
        key for key in (b"absent %d" % i for i in range(999)) if (make_proof(key)[1].other is not None) == with_other
    )


def test_both_kinds_of_absence():
    """LST-6: an empty place, and another leaf with the shared prefix, both prove that there is no value."""
    for with_other in (False, True):
        key = find_absent(with_other=with_other)
        root, proof = make_proof(key)
        verify_state_proof(root, CONTRACT, key, None, proof)
        with pytest.raises(StateProofRefuted):
            verify_state_proof(bytes(32), CONTRACT, key, None, proof)


def test_a_proof_belongs_to_one_contract():
    """LST-1: the same key in another contract has another path."""
    root, proof = make_proof(b"\x07")
    verify_state_proof(root, CONTRACT, b"\x07", PROVEN[b"\x07"], proof)
    with pytest.raises(StateProofRefuted):
        verify_state_proof(root, tags.STAKES_CONTRACT, b"\x07", PROVEN[b"\x07"], proof)


def test_proofs_of_an_impossible_form():
    """LST-7: too many siblings, siblings of another length, another leaf beside a value, or in an impossible place."""
    key = find_absent(with_other=True)
    root, proof = make_proof(key)
    path = compute_path(CONTRACT, key)
    foreign = bytes([path[0] ^ 0x80]) + path[1:]
    for broken, value in (
        (StateProof((bytes(32),) * 257, None), None),
        (StateProof((*proof.siblings[:-1], b""), proof.other), None),
        (proof, b"value"),
        (StateProof(proof.siblings, OtherLeaf(path, bytes(32))), None),
        (StateProof(proof.siblings, OtherLeaf(foreign, bytes(32))), None),
        (StateProof(proof.siblings, OtherLeaf(path[:31], bytes(32))), None),
        (StateProof(proof.siblings, OtherLeaf(foreign, b"")), None),
    ):
        with pytest.raises(StateProofMalformed):
            verify_state_proof(root, CONTRACT, key, value, broken)


def test_a_node_cannot_pass_for_a_leaf():
    """LST-2, LST-3: a shortened path would need an inner node to be a leaf hash; every shortening is refused."""
    root, proof = make_proof(b"\x07")
    for length in range(len(proof.siblings)):
        with pytest.raises(StateProofRefuted):
            verify_state_proof(root, CONTRACT, b"\x07", PROVEN[b"\x07"], StateProof(proof.siblings[:length], None))
