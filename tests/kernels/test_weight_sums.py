"""The native sums have the bits of the truth in NumPy, with every choice of instruction sets."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.kernels import loader, weight_sums
from assay.verification.weight_analysis import kernel
from assay.verification.weight_analysis.sums import add_blocks, sum_blocks

ELEMENT = {"f16": ("<u2", 0x7C00), "bf16": ("<u2", 0x7F80), "f32": ("<u4", 0x7F800000), "f64": ("<u8", 0x7FF << 52)}


def make_finite(dtype, count, seed):
    """Return any finite bit patterns, subnormals and both zeros among them; of f64 those whose squares are finite."""
    kind, exponent = ELEMENT[dtype]
    bits = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, count, kind, endpoint=True)
    bits[bits & kind_of(kind, exponent) == exponent] = 0
    if dtype == "f64":
        bits &= kind_of(kind, 0xBFFF << 48 | 0xFFFF_FFFF_FFFF)
    bits[::97] &= kind_of(kind, ~exponent & np.iinfo(kind).max)
    return bits.tobytes()


def kind_of(kind, value):
    """Return a value as a number of a type."""
    return np.dtype(kind).type(value)


@pytest.mark.parametrize("dtype", ELEMENT)
def test_bits_are_those_of_the_truth(variant, dtype):
    """Every length around lanes and blocks, any finite pattern, buffers of any alignment (WGT-2, WGT-3)."""
    size = weight_sums.TYPES[dtype][1]
    for count in [*range(34), 4080, 4095, 4096, 4097, 4103, 12345]:
        one, other = make_finite(dtype, count, count), make_finite(dtype, count, count + 1)
        expected = sum_blocks(dtype, one, other)
        shifted = bytearray(3 + len(one)), bytearray(1 + len(other))
        shifted[0][3:], shifted[1][1:] = one, other
        views = memoryview(shifted[0])[3:], memoryview(shifted[1])[1:]
        assert len(views[0]) == count * size
        assert weight_sums.sum_blocks(dtype, *views).tobytes() == expected.tobytes()


@given(st.binary(max_size=400))
def test_any_bytes(data):
    """NaN and infinity come through as sums that are not finite, in both."""
    half = len(data) // 4 * 2
    one, other = bytearray(data[:half]), bytearray(data[half : 2 * half])
    native = add_blocks([weight_sums.sum_blocks("bf16", one, other)])
    truth = add_blocks([sum_blocks("bf16", bytes(one), bytes(other))])
    assert np.array_equal(np.isfinite(native), np.isfinite(truth))
    assert all(x == y for x, y in zip(native, truth, strict=True) if np.isfinite(y))


def test_a_process_that_flushes_subnormals_changes_nothing(variant):
    """With denormals flushed by PyTorch, the sums are the same, and the mode is the process's own again afterwards."""
    tiny = np.full(100, 3, "<u4").tobytes()
    zero = bytes(400)
    expected = add_blocks([sum_blocks("f32", zero, tiny)])
    assert expected.change > 0
    torch.set_flush_denormal(True)
    try:
        assert add_blocks([weight_sums.sum_blocks("f32", bytearray(zero), bytearray(tiny))]) == expected
        assert float(torch.tensor(1e-310, dtype=torch.float64) * 1) == 0
    finally:
        torch.set_flush_denormal(False)


def test_buffers_that_do_not_fit_are_refused():
    """Different lengths and halves of elements are refused before the kernel sees them."""
    for one, other in ((8, 4), (6, 6)):
        with pytest.raises(weight_sums.WeightBuffersRefused) as refused:
            weight_sums.sum_blocks("f32", bytearray(one), bytearray(other))
        assert refused.value.code == "kernels.weight-buffers"


def test_without_the_library(monkeypatch):
    """Where nothing native was built, the truth itself is used."""
    assert loader.load() is not None
    assert weight_sums.is_native()
    one, other = bytearray(make_finite("f32", 5000, 1)), bytearray(make_finite("f32", 5000, 2))
    fast = add_blocks([kernel.sum_blocks("f32", one, other)])
    monkeypatch.setattr(weight_sums, "_bind", lambda: None)
    assert not weight_sums.is_native()
    assert weight_sums.sum_blocks("f32", one, other) is None
    assert (
        add_blocks([kernel.sum_blocks("f32", one, other)])
        == fast
        == add_blocks([kernel.sum_blocks("f32", bytes(one), other)])
    )
