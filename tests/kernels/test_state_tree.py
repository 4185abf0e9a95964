import hashlib

import numpy as np
import pytest

from assay.kernels import state_tree
from assay.kernels.state_tree import StateTree
from assay.protocol import tags
from assay.protocol.hashing import tag_bytes
from assay.protocol.merkle import compute_root, hash_node

ALIASES, EMPTY = b"a" * 32, b"e" * 32


def expect(leaves, digests, split):
    """Return the three roots in the slow way."""
    hashes = [hashlib.sha256(leaf + digest).digest() for leaf, digest in zip(leaves, digests, strict=True)]
    model = compute_root(tags.MODEL_TREE, [*hashes[:split], ALIASES])
    rest = compute_root(tags.REST_TREE, hashes[split:]) if hashes[split:] else EMPTY
    return model, rest, hash_node(tags.STATE_NODE, model, rest)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17, 40])
def test_roots_are_the_oracles(variant, count):
    """Any number of tensors, split anywhere between the two halves; the same tree again with other digests."""
    leaves = [b"\x00" + tag_bytes(tags.MODEL_TREE) + bytes(range(7 * i % 150)) for i in range(count)]
    for split in range(count + 1):
        tree = StateTree(leaves, split, ALIASES, EMPTY)
        for seed in range(2):
            joined = np.random.default_rng(seed).integers(0, 256, 32 * count, np.uint8)
            digests = [joined[32 * i : 32 * i + 32].tobytes() for i in range(count)]
            assert tree.compute(joined) == expect(leaves, digests, split)


def test_digest_too_few_is_refused():
    """Fewer digests than tensors would read memory that is not ours."""
    with pytest.raises(ValueError, match="one digest of 32 bytes per tensor"):
        StateTree([b"x", b"y"], 1, ALIASES, EMPTY).compute(np.zeros(63, np.uint8))


def test_structure_is_that_of_the_header(variant):
    """Python and C agree on where the roots stand."""
    offset = state_tree._State.roots.offset
    assert offset == 6 * 8 + 3 * 3 + 2 * 32
    assert state_tree.is_available()
