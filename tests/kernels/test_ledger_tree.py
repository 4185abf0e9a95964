import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.kernels import ledger_tree, loader
from assay.kernels.ledger_tree import NativeLedgerTree, make_ledger_tree
from assay.protocol.ledger_proofs import EMPTY
from assay.protocol.ledger_tree import NothingComputed, PlainLedgerTree
from tests.protocol import state_oracle
from tests.protocol.memory_leaves import MemoryLeaves
from tests.protocol.test_ledger_tree import BATCHES, PATHS, VALUES, apply, make_leaves


def make_tree(source):
    """Return the native tree over leaves."""
    return NativeLedgerTree(source, loader.load())


@settings(deadline=None)
@given(st.dictionaries(PATHS, VALUES, max_size=20), BATCHES, st.lists(PATHS, max_size=4))
def test_roots_and_proofs_are_the_oracles(first, batches, others):
    """LST-3 to LST-6: after every batch, forks of 255 bits and deletions of nothing included."""
    source = MemoryLeaves(first)
    tree = make_tree(source)
    for changes in [{}, *batches]:
        assert apply(tree, source, changes) == state_oracle.hash_tree(source.leaves)
        plain = PlainLedgerTree(source)
        for path in [*source.leaves, *changes, *others]:
            assert tree.prove(path) == plain.prove(path)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 50, 3000])
def test_trees_of_every_size(variant, size):
    """LST-4: it grows, shrinks to nothing and grows again; many blocks in the memory of a few."""
    source = MemoryLeaves(make_leaves(size))
    tree = make_tree(source)
    assert tree.root == state_oracle.hash_tree(source.leaves)
    chance = random.Random(size)
    for _ in range(6):
        known = chance.sample(sorted(source.leaves), len(source.leaves) // 3)
        changes = {path: chance.choice((None, chance.randbytes(32))) for path in known}
        changes |= {chance.randbytes(32): chance.choice((None, chance.randbytes(32))) for _ in range(size // 4)}
        assert apply(tree, source, changes) == state_oracle.hash_tree(source.leaves)
    assert apply(tree, source, dict.fromkeys(source.leaves)) == EMPTY
    assert apply(tree, source, make_leaves(20, seed=9)) == state_oracle.hash_tree(source.leaves)


def test_an_update_changes_nothing_until_it_is_applied():
    """LST-4: root and proofs stay those of the last commit; an update that nobody applied leaves nothing behind."""
    source = MemoryLeaves(make_leaves(200))
    tree, before = make_tree(source), PlainLedgerTree(source)
    for seed in range(50):
        changes = {**make_leaves(100, seed + 2), **dict.fromkeys(list(source.leaves)[:50])}
        assert tree.compute_update(changes) != tree.root
        assert tree.root == before.root
        for path in [*list(source.leaves)[:60], bytes(32)]:
            assert tree.prove(path) == before.prove(path)
    assert apply(tree, source, make_leaves(30, seed=77)) == state_oracle.hash_tree(source.leaves)


def test_the_room_of_what_is_gone_is_used_again():
    """A thousand blocks over the same accounts take no more memory than a few."""
    source = MemoryLeaves(make_leaves(500))
    tree, chance = make_tree(source), random.Random(0)
    paths = sorted(source.leaves)
    used = []
    for _ in range(1000):
        apply(tree, source, {path: chance.randbytes(32) for path in chance.sample(paths, 20)})
        used.append((tree._tree.leaves.used, tree._tree.nodes.used))
    assert used[-1] == used[100]
    assert tree._tree.count == 500


def test_more_room_is_made_in_the_midst_of_an_update():
    """Paths that somebody searched for: every bit of one is a fork, so that a change rewrites many nodes."""
    chance = random.Random(3)
    base = chance.getrandbits(256)
    comb = {(base ^ 1 << bit).to_bytes(32, "big"): chance.randbytes(32) for bit in range(256)}
    source = MemoryLeaves(comb)
    tree = make_tree(source)
    assert tree.root == state_oracle.hash_tree(source.leaves)
    many = make_leaves(40_000, seed=4)
    deleted = dict.fromkeys(list(comb)[::2])
    assert apply(tree, source, {**many, **deleted}) == PlainLedgerTree(source).root
    for changes in ({base.to_bytes(32, "big"): bytes(32)}, dict.fromkeys(many)):
        assert apply(tree, source, changes) == state_oracle.hash_tree(source.leaves)
    for path in list(comb)[:20]:
        assert tree.prove(path) == PlainLedgerTree(source).prove(path)


def test_nothing_to_apply():
    """An update is applied once."""
    source = MemoryLeaves(make_leaves(3))
    for tree in (make_tree(source), PlainLedgerTree(source)):
        with pytest.raises(NothingComputed):
            tree.apply()
        tree.compute_update({})
        tree.apply()
        with pytest.raises(NothingComputed):
            tree.apply()


def test_lengths_are_checked_before_memory_is_read():
    """A short path or value hash would shift all that follow."""
    tree = make_tree(MemoryLeaves())
    for changes in ({bytes(31): bytes(32)}, {bytes(32): bytes(31)}, {bytes(33): None}, {bytes(31): bytes(33)}):
        with pytest.raises(ValueError, match="32 bytes"):
            tree.compute_update(changes)
    with pytest.raises(ValueError, match="32 bytes"):
        tree.prove(bytes(31))


def test_without_the_library(monkeypatch):
    """The plain tree takes over."""
    monkeypatch.setattr(ledger_tree, "load", lambda: None)
    assert isinstance(make_ledger_tree(MemoryLeaves()), PlainLedgerTree)
