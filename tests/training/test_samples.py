from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.training.arrays import BF16, NUMPY_TYPES, TYPE_NAMES
from assay.training.samples import MAX_DEPTH, MAX_FIELDS, UnsupportedSample, flatten_sample, rebuild_structure


def nothing(_):
    """Turn no object into an array."""


class Pair(NamedTuple):
    """A named tuple."""

    x: int
    y: int


class Tensor:
    """A stand-in for a foreign tensor, which only `to_array` understands."""

    def __init__(self, values):
        self.values = values


class Interfaced:
    """An object that NumPy can read."""

    def __array__(self, dtype=None, copy=None):
        return np.arange(3, dtype=np.int16)


def test_numbers_become_arrays_of_fixed_types():
    """DAT-3: int to i64, float to f32, bool to u8; NumPy's own scalars keep their type."""
    names, values = flatten_sample((3, 0.1, True, np.float64(0.1), np.bool_(1)), nothing)
    assert names == ("#0", "#1", "#2", "#3", "#4")
    assert [TYPE_NAMES[value.dtype] for value in values] == ["i64", "f32", "u8", "f64", "bool"]
    assert [value.tolist() for value in values] == [3, float(np.float32(0.1)), 1, 0.1, True]
    assert all(value.shape == () for value in values)


def test_names_are_paths_and_keys_are_sorted_bytewise():
    """DAT-1, DAT-2: positions in lists and tuples, keys in dicts in the order of their bytes, whatever came first."""
    sample = {"y": [1, {"\U00010000": 2, "\uffff": 3}], "x": (np.zeros(2), 5)}
    names, values = flatten_sample(sample, nothing)
    assert names == ("x/#0", "x/#1", "y/#0", "y/#1/\uffff", "y/#1/\U00010000")
    assert [value.tolist() for value in values] == [[0.0, 0.0], 5, 1, 3, 2]


def test_a_single_value_has_the_empty_name():
    """DAT-2: a sample that is no container."""
    names, values = flatten_sample(np.arange(3), nothing)
    assert names == ("",)
    assert rebuild_structure(names, values) is values[0]


def test_foreign_objects_go_through_the_adapter_or_the_array_interface():
    """DAT-3: `to_array` is asked first; what it declines may still be an array."""
    _, values = flatten_sample(
        [Tensor(np.ones(2, np.float16)), Interfaced()], lambda item: getattr(item, "values", None)
    )
    assert [value.dtype for value in values] == [np.float16, np.int16]


def test_arrays_of_all_types_keep_their_bytes():
    """DAT-3: every element type of a state; bfloat16 as its bit patterns."""
    for name, dtype in NUMPY_TYPES.items():
        array = np.zeros((2, 3), dtype)
        _, (found,) = flatten_sample(array, nothing)
        assert TYPE_NAMES[found.dtype] == name
        assert found is array
    assert BF16.itemsize == 2


def test_big_endian_arrays_become_little_endian():
    """DAT-3: bytes are little-endian."""
    _, (found,) = flatten_sample(np.array([1, 256], ">i4"), nothing)
    assert found.tobytes() == b"\x01\0\0\0\x00\x01\0\0"


@pytest.mark.parametrize(
    "sample",
    [
        "text", b"bytes", None, 1j, 2**63, -(2**63) - 1, (), [], {}, (1, ()), {1: 2}, {"": 1}, {"a/b": 1}, {"#0": 1},
        {"\ud800": 1}, np.zeros(2, np.uint16), np.zeros(2, complex), np.array(["a"]), np.array([None]), object(), int,
        np.ndarray, Pair(1, 2), {1, 2}, [0] * (MAX_FIELDS + 1),
    ],
    ids=lambda sample: type(sample).__name__,
)  # fmt: skip
def test_what_has_no_canonical_bytes_is_refused(sample):
    """DAT-1 to DAT-3: each with its own words, none by accident."""
    with pytest.raises(UnsupportedSample):
        flatten_sample(sample, nothing)


def test_text_is_refused_with_a_cure():
    """The reader learns what to do instead."""
    with pytest.raises(UnsupportedSample, match="encode text"):
        flatten_sample({"caption": "a cat"}, nothing)


def test_containers_are_nested_up_to_the_limit():
    """DAT-1: one level more is refused; a container inside itself too, instead of running out of stack."""
    sample = 1
    for _ in range(MAX_DEPTH):
        sample = [sample]
    assert flatten_sample(sample, nothing)[0] == ("/".join(["#0"] * MAX_DEPTH),)
    endless = []
    endless.append(endless)
    for deep in ([sample], endless):
        with pytest.raises(UnsupportedSample):
            flatten_sample(deep, nothing)


keys = st.text(max_size=5).filter(lambda key: key and key[0] != "#" and "/" not in key and key.isprintable())
samples = st.recursive(
    st.integers(-(2**63), 2**63 - 1),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(keys, inner, min_size=1, max_size=4),
    max_leaves=20,
)


@given(samples)
def test_the_names_tell_the_containers(sample):
    """DAT-2: names and values give back the sample."""
    names, values = flatten_sample(sample, nothing)
    assert len(set(names)) == len(names)
    assert rebuild_structure(names, [value.item() for value in values]) == sample


@given(samples)
def test_a_tuple_comes_back_as_a_list(sample):
    """DAT-2: tuples and lists have the same names."""
    assert flatten_sample((sample, 1), nothing)[0] == flatten_sample([sample, 1], nothing)[0]
