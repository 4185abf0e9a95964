import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence import data as evidence
from assay.protocol.hashing import compute_bulk_digest
from assay.protocol.merkle import compute_data_root
from assay.training import batches
from assay.training.arrays import NUMPY_TYPES, TYPE_NAMES


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_membership_is_the_oracles(leaves):
    """DAT-10: any batch, also an empty one."""
    rows = np.frombuffer(b"".join(leaves), np.uint8).reshape(-1, 32)
    assert batches.compute_membership(rows) == evidence.compute_membership(leaves)


def test_membership_depends_on_which_samples_and_on_their_order():
    """DAT-10: swapped, dropped, replaced and repeated samples give other roots."""
    rows = np.arange(10 * 32, dtype=np.uint8).reshape(10, 32)
    choices = [[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 3, 3]]
    assert len({batches.compute_membership(rows[choice]) for choice in choices}) == len(choices)


@given(st.lists(st.tuples(st.sampled_from(sorted(NUMPY_TYPES)), st.lists(st.integers(0, 4), max_size=3)), max_size=6))
def test_content_is_the_oracles(kinds):
    """DAT-11: any fields of any type and shape; what a step returns is hashed alike, under its own tag."""
    random = np.random.default_rng(0)
    arrays = []
    for name, shape in kinds:
        dtype = NUMPY_TYPES[name]
        raw = random.integers(0, 2, int(np.prod(shape, dtype=int)) * dtype.itemsize, np.uint8)
        arrays.append(raw.view(dtype).reshape(shape))
    expected = [
        evidence.BatchField(position, TYPE_NAMES[array.dtype], array.shape, compute_bulk_digest(array.tobytes()))
        for position, array in enumerate(arrays)
    ]
    assert batches.compute_content(arrays) == evidence.compute_content(expected)
    root, digests = batches.compute_losses(arrays)
    assert root == compute_data_root(tags.LOSS_TREE, [encode(field) for field in expected])
    assert digests == [field.digest for field in expected]


def test_content_depends_on_bytes_type_shape_and_position():
    """DAT-11: a flipped label, another type or shape of the same bytes, and swapped fields give other roots."""
    images, labels = np.zeros((2, 4), np.float32), np.array([1, 2])
    fed = [
        [images, labels],
        [images, np.array([1, 3])],
        [images.reshape(4, 2), labels],
        [images.view(np.int32), labels],
        [labels, images],
        [images],
    ]
    assert len({batches.compute_content(fields) for fields in fed}) == len(fed)


def test_content_of_a_strided_array_is_that_of_its_contiguous_copy():
    """DAT-11: bytes in row-major order."""
    array = np.arange(12, dtype=np.int16).reshape(3, 4).T
    assert batches.compute_content([array]) == batches.compute_content([array.copy()])
