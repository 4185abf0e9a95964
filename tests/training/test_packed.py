import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import sha256
from assay.protocol import tags
from assay.protocol.encoding import encode
from assay.protocol.evidence import data as evidence
from assay.protocol.hashing import compute_bulk_digest
from assay.protocol.merkle import compute_data_root, compute_root
from assay.training.arrays import BF16, TYPE_NAMES
from assay.training.packed import (
    DataMismatch,
    MalformedData,
    PackedData,
    PackedField,
    RaggedData,
    compute_tree_root,
    make_salts,
)

SALT_KEY = bytes(range(32))


def make_packed(size=5, salt_key=b""):
    """Return a data set of two fields of one shape."""
    random = np.random.default_rng(size)
    images = random.random((size, 2, 3), np.float32)
    return PackedData(size, (PackedField("#0", images), PackedField("#1", np.arange(size))), salt_key)


def make_ragged():
    """Return a data set whose second field has samples of different lengths, one of them empty."""
    shapes = np.array([[2], [0], [3]], np.int64)
    return PackedData(3, (PackedField("a", np.arange(3)), PackedField("b", np.arange(5, dtype=np.int16), shapes)))


def make_fields(packed, index):
    """Return the fields of a sample as records, the slow way."""
    return tuple(
        evidence.SampleField(field.name, TYPE_NAMES[value.dtype], value.shape, compute_bulk_digest(value.tobytes()))
        for field, value in zip(packed.fields, packed.get_sample(index), strict=True)
    )


def make_leaves(packed):
    """Return the data leaves, the slow way."""
    salts = make_salts(packed.salt_key, packed.size)
    return [
        evidence.DataLeaf(0, index, salts[32 * index : 32 * index + 32], make_fields(packed, index))
        for index in range(packed.size)
    ]


@pytest.mark.parametrize(
    "packed",
    [make_packed(), make_packed(300), make_packed(5, SALT_KEY), make_ragged(),
     PackedData(2, (PackedField("", np.zeros((2, 0), np.float64)),)),
     PackedData(2, (PackedField("", np.zeros((2, 3), BF16)),)),
     PackedData(2, tuple(PackedField(f"#{number}", np.zeros(2, np.uint8)) for number in range(17)))],
    ids=["two fields", "300 samples", "salted", "ragged", "empty arrays", "bf16", "17 fields"],
)  # fmt: skip
def test_the_fast_hashes_are_the_oracles(packed):
    """DAT-5 to DAT-8: leaf hashes, root, content digests and schema are those of the records."""
    leaves = make_leaves(packed)
    leaf_hashes, contents = packed.compute_hashes()
    assert [row.tobytes() for row in leaf_hashes] == [evidence.hash_data_leaf(leaf) for leaf in leaves]
    expected = [evidence.compute_content_digest(evidence.SampleContent(0, leaf.fields)) for leaf in leaves]
    assert [row.tobytes() for row in contents] == expected
    record = packed.describe(leaf_hashes)
    assert record.leaves.tag == tags.DATA_TREE
    assert record.leaves.size == packed.size
    assert record.leaves.root == compute_data_root(tags.DATA_TREE, [encode(leaf) for leaf in leaves])
    assert record.salted == bool(packed.salt_key)
    schema = evidence.Schema(
        0, tuple(evidence.FieldSchema(field.name, field.dtype, field.shape) for field in packed.fields)
    )
    assert record.schema == evidence.compute_schema_id(schema)
    assert packed.verify_commitment(record).tobytes() == leaf_hashes.tobytes()


def test_salts_differ_by_leaf_and_hide_the_content():
    """DAT-5: 32 bytes a leaf, none twice; the content digest does not know them."""
    salts = make_salts(SALT_KEY, 50)
    assert len({salts[start : start + 32] for start in range(0, len(salts), 32)}) == 50
    plain, salted = make_packed().compute_hashes(), make_packed(5, SALT_KEY).compute_hashes()
    assert not any((a == b).all() for a, b in zip(plain[0], salted[0], strict=True))
    assert (plain[1] == salted[1]).all()


def test_any_changed_bit_is_found():
    """DAT-6: a commitment to samples refuses every single-bit change of them."""
    packed = make_packed(2)
    record = packed.describe(packed.compute_hashes()[0])
    for field in packed.fields:
        raw = field.values.reshape(-1).view(np.uint8)
        for bit in range(8 * len(raw)):
            raw[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DataMismatch):
                packed.verify_commitment(record)
            raw[bit // 8] ^= 1 << bit % 8
    packed.verify_commitment(record)


def test_another_number_schema_order_or_salt_is_found():
    """DAT-6, DAT-8: samples dropped, fields renamed or retyped, samples swapped, another salt."""
    packed = make_packed()
    record = packed.describe(packed.compute_hashes()[0])
    images, labels = packed.fields
    swapped = PackedField("#0", images.values[[1, 0, 2, 3, 4]])
    others = [
        make_packed(4),
        PackedData(5, (images, PackedField("#2", labels.values))),
        PackedData(5, (images, PackedField("#1", labels.values.astype(np.int32)))),
        PackedData(5, (images,)),
        PackedData(5, (swapped, labels)),
        make_packed(5, SALT_KEY),
    ]
    for other in others:
        with pytest.raises(DataMismatch):
            other.verify_commitment(record)


def test_gathering_stacks_the_samples_in_batch_order():
    """DAT-12: a copy along a new first dimension."""
    packed = make_packed()
    images, labels = packed.gather(np.array([3, 0, 3]))
    assert labels.tolist() == [3, 0, 3]
    assert (images == packed.fields[0].values[[3, 0, 3]]).all()
    assert images.flags.c_contiguous
    images[:] = 0
    assert packed.fields[0].values.any()


def test_ragged_samples_are_kept_and_cannot_be_stacked():
    """DAT-12: each sample keeps its shape; stacking is refused with a cure that names the field."""
    packed = make_ragged()
    assert [packed.get_sample(index)[1].tolist() for index in range(3)] == [[0, 1], [], [2, 3, 4]]
    assert packed.is_ragged
    with pytest.raises(RaggedData, match="'b'"):
        packed.gather(np.array([0]))


SHAPES = np.array([[2], [0], [3]], np.int64)


@pytest.mark.parametrize(
    "field",
    [
        PackedField("a", np.zeros(2)),
        PackedField("a", np.zeros(())),
        PackedField("a", np.zeros(3, np.uint16)),
        PackedField("a", np.zeros(4), SHAPES),
        PackedField("a", np.zeros((5, 1)), SHAPES),
        PackedField("a", np.zeros(5), SHAPES[:2]),
        PackedField("a", np.zeros(5), SHAPES.astype(np.int32)),
        PackedField("a", np.zeros(5), np.array([[-1], [3], [3]], np.int64)),
        PackedField("a", np.zeros(0), np.array([[2**32, 2**32]] * 3, np.int64)),
        PackedField("a", np.zeros(0), np.array([[2**62, 4]] * 3, np.int64)),
    ],
)
def test_stored_arrays_that_do_not_hold_the_samples_are_refused(field):
    """Another length or type, shapes that do not add up, are negative or wrap around."""
    with pytest.raises(MalformedData):
        PackedData(3, (field,))


def test_progress_is_told():
    """Every thousand samples, of how many."""
    told = []
    make_packed(2500).compute_hashes(lambda done, total: told.append((done, total)))
    assert told == [(0, 2500), (1000, 2500), (2000, 2500)]


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "plain"])
@given(leaves=st.lists(st.binary(min_size=32, max_size=32), max_size=40))
def test_the_root_of_an_array_of_hashes_is_the_oracles(is_native, leaves):
    """Any number of rows, also none, with native code and without."""
    rows = np.frombuffer(b"".join(leaves), np.uint8).reshape(-1, 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sha256, "is_available", lambda: is_native)
        assert compute_tree_root(tags.DATA_TREE, rows) == compute_root(tags.DATA_TREE, leaves)
