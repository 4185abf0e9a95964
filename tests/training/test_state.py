import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import bulk_digests
from assay.protocol import tags
from assay.protocol.evidence import model_state
from assay.protocol.evidence.model_state import AVERAGE, BUFFER, DTYPES, PARAM, SLOT, Alias, AliasTable
from assay.protocol.hashing import tag_bytes
from assay.protocol.merkle import compute_root
from assay.training import digests, state
from assay.training.arrays import view_bytes
from assay.training.state import NO_ALIASES, StateHasher, StateLayoutError, TensorLayout, hash_tensor

layouts = st.lists(
    st.builds(
        TensorLayout,
        st.integers(PARAM, AVERAGE),
        st.text(max_size=80).filter(lambda text: text.isprintable()),
        st.sampled_from(sorted(DTYPES)),
        st.lists(st.integers(0, 5), max_size=4).map(tuple),
    ),
    max_size=40,
    unique_by=lambda entry: (entry.namespace, entry.name),
).map(lambda entries: sorted(entries, key=lambda entry: (entry.namespace, entry.name.encode())))


def make_buffers(layout, seed=0):
    """Return random bytes for every tensor of a layout."""
    random = np.random.default_rng(seed)
    return [view_bytes(random.integers(0, 256, entry.nbytes, np.uint8)) for entry in layout]


def make_records(layout, buffers):
    """Return the records of the slow way."""
    return [
        hash_tensor(entry.namespace, entry.name, entry.dtype, entry.shape, buffer)
        for entry, buffer in zip(layout, buffers, strict=True)
    ]


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "plain"])
@given(layout=layouts, names=st.lists(st.text(max_size=10), max_size=3, unique=True))
def test_the_fast_roots_are_the_oracles(is_native, layout, names):
    """Any layout, with and without aliases and native code: roots and digests of `protocol/evidence/model_state`."""
    with pytest.MonkeyPatch.context() as patch:
        if not is_native:
            patch.setattr(state, "is_available", lambda: False)
            patch.setattr(bulk_digests, "is_native_faster", lambda: False)
        check_roots(layout, names)


def check_roots(layout, names):
    """Compare the roots of random bytes with the oracle's."""
    aliases = AliasTable(tuple(Alias(name, "0/weight") for name in sorted(names)))
    buffers = make_buffers(layout)
    records = make_records(layout, buffers)
    found = StateHasher(layout, aliases).compute(buffers)
    assert found.model_root == model_state.compute_model_root(records, aliases)
    assert found.rest_root == model_state.compute_rest_root(records)
    assert found.state_root == model_state.compute_state_root(records, aliases)
    assert found.digests == [record.digest for record in records]


def test_a_hasher_serves_many_steps():
    """The same hasher gives the root of each state, whatever it hashed before."""
    layout = [TensorLayout(PARAM, "0/weight", "f32", (3, 4)), TensorLayout(SLOT, "0/weight/momentum", "f32", (3, 4))]
    hasher = StateHasher(layout)
    for seed in (1, 2, 1):
        buffers = make_buffers(layout, seed)
        expected = model_state.compute_state_root(make_records(layout, buffers), NO_ALIASES)
        assert hasher.compute(buffers).state_root == expected


def test_every_byte_of_every_tensor_counts():
    """Flipping any one bit of the state changes the root and the one digest."""
    layout = [TensorLayout(PARAM, "0/a", "f32", (2,)), TensorLayout(BUFFER, "0/b", "i64", ()),
              TensorLayout(SLOT, "0/a/m", "f32", (2,))]  # fmt: skip
    hasher = StateHasher(layout)
    buffers = [bytearray(buffer) for buffer in make_buffers(layout)]
    before = hasher.compute(buffers)
    roots = {before.state_root}
    for position, buffer in enumerate(buffers):
        for bit in range(8 * len(buffer)):
            buffer[bit // 8] ^= 1 << bit % 8
            after = hasher.compute(buffers)
            buffer[bit // 8] ^= 1 << bit % 8
            roots.add(after.state_root)
            changed = [a != b for a, b in zip(before.digests, after.digests, strict=True)]
            assert changed == [number == position for number in range(3)]
    assert len(roots) == 1 + 8 * 24


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a")])
def test_a_layout_that_is_not_sorted_and_unique_is_refused(names):
    """The order of the tree is fixed by the names."""
    with pytest.raises(StateLayoutError):
        StateHasher([TensorLayout(PARAM, name, "f32", ()) for name in names])


def test_names_are_sorted_by_their_bytes():
    """A namespace comes before any name; names are compared as UTF-8."""
    StateHasher([TensorLayout(PARAM, "\uffff", "f32", ()), TensorLayout(PARAM, "\U00010000", "f32", ()),
                 TensorLayout(BUFFER, "a", "f32", ())])  # fmt: skip
    with pytest.raises(StateLayoutError):
        StateHasher([TensorLayout(BUFFER, "a", "f32", ()), TensorLayout(PARAM, "b", "f32", ())])


def test_buffers_that_do_not_fit_are_refused():
    """A missing buffer, and one of another length, are named."""
    hasher = StateHasher([TensorLayout(PARAM, "0/weight", "f32", (2,))])
    with pytest.raises(StateLayoutError, match="one buffer per tensor"):
        hasher.compute([])
    with pytest.raises(StateLayoutError, match="0/weight"):
        hasher.compute([bytes(7)])
    with pytest.raises(StateLayoutError, match="0/weight"):
        hash_tensor(PARAM, "0/weight", "f32", (2,), bytes(9))


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
def test_the_fast_merkle_root_is_the_oracles(leaves):
    """Any number of leaves."""
    node = digests.prepare(b"\x01" + tag_bytes(tags.MODEL_TREE))
    assert digests.compute_root_from(node, leaves) == compute_root(tags.MODEL_TREE, leaves)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_quick_sha256_is_hashlibs(prefix, rest):
    """A prepared prefix and the rest give the digest of both, as often as asked."""
    prepared = digests.prepare(prefix)
    for _ in range(2):
        digest = prepared()
        digest.update(rest)
        assert digest.digest() == hashlib.sha256(prefix + rest).digest()


def test_without_a_built_in_sha256_hashlib_is_used(monkeypatch):
    """An interpreter without the module still hashes."""

    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(digests, "import_module", refuse)
    assert digests._find_sha256() is hashlib.sha256
