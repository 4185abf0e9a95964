import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import ledger_subtrees, loader
from assay.kernels.ledger_subtrees import NativeHasher, find_tree_hasher
from assay.protocol.ledger_tree import PLAIN, LedgerTree
from tests.protocol.memory_leaves import MemoryLeaves


def make_group(rng, depth, count, shared=0):
    """Return sorted leaves whose paths agree in their first `depth` bits, and further in `shared` more."""
    agreed = depth + shared
    prefix = rng.getrandbits(agreed) if agreed else 0
    paths = {prefix << (256 - agreed) | rng.getrandbits(256 - agreed) for _ in range(count)}
    return [(path.to_bytes(32, "big"), rng.randbytes(32)) for path in sorted(paths)]


@pytest.mark.parametrize("depth", [0, 1, 7, 8, 9, 17, 24])
def test_subtrees_are_the_oracles(variant, depth):
    """Groups of every small size, some of whose paths share long prefixes."""
    rng = random.Random(depth)
    groups = [make_group(rng, depth, count, shared) for count in (0, 1, 2, 3, 5, 17, 40) for shared in (0, 1, 9, 200)]
    assert NativeHasher(loader.load()).compute_subtrees(depth, groups) == PLAIN.compute_subtrees(depth, groups)


def test_paths_that_differ_in_their_last_bit(variant):
    """The longest chain of empty halves there is."""
    path = random.Random(0).randbytes(31)
    group = [(path + bytes([2]), bytes(32)), (path + bytes([3]), bytes(32))]
    for depth in (0, 100, 254, 255):
        assert NativeHasher(loader.load()).compute_subtrees(depth, [group]) == PLAIN.compute_subtrees(depth, [group])


@pytest.mark.parametrize("count", [0, 1, 2, 16, 17, 100])
def test_joined_halves_are_the_oracles(variant, count):
    """Empty halves, lone leaves and nodes in every combination."""
    rng = random.Random(count)
    halves = [None, b"\x00" + rng.randbytes(32), rng.randbytes(32)]
    pairs = [(halves[number % 3], halves[number // 3 % 3]) for number in range(count)]
    assert NativeHasher(loader.load(), few=0).join_all(pairs) == PLAIN.join_all(pairs)


@given(st.lists(st.dictionaries(st.binary(min_size=2, max_size=2), st.sampled_from([None, b"a", b"b"])), max_size=4))
def test_a_tree_grows_and_shrinks_as_the_oracles(batches):
    """Whatever is set and deleted, block by block: the same updates by both hashers."""
    source = MemoryLeaves()
    plain, native = LedgerTree(source), LedgerTree(source, NativeHasher(loader.load(), few=0))
    for batch in batches:
        changes = {key * 16: None if value is None else value * 32 for key, value in batch.items()}
        expected = plain.compute_update(changes)
        assert native.compute_update(changes) == expected
        source.change(changes)
        plain.apply(expected)
        native.apply(expected)


def test_leaves_of_a_wrong_length_are_refused():
    """A short path would shift all that follow."""
    with pytest.raises(ValueError, match="32 bytes each"):
        NativeHasher(loader.load()).compute_subtrees(0, [[(bytes(31), bytes(32))]])


def test_without_the_library(monkeypatch):
    """The plain hasher takes over."""
    monkeypatch.setattr(ledger_subtrees, "load", lambda: None)
    assert find_tree_hasher.__wrapped__() is PLAIN
