"""Quicker ways to call an operator give the bits of the operator."""

import itertools

import pytest
import torch

from assay.training.pytorch.bindings import get_callable

SHAPES = [(3, 8, 6, 7), (2, 33, 5, 5), (1, 16, 2, 2), (2, 3, 8, 8)]
WINDOWS = [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1)), ((2, 2), (1, 1), (1, 0))]


def make_hard(shape, dtype, seed):
    """Numbers with many ties, both zeros, NaN and both infinities."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-2, 3, shape, generator=generator).to(dtype)
    kind = torch.rand(shape, generator=generator)
    for low, number in ((0.95, float("nan")), (0.9, float("-inf")), (0.87, float("inf")), (0.7, -0.0)):
        values[kind > low] = number
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_maxima_are_the_same_elements(dtype):
    """Values, places and strides are those of torch's own call, for ties, NaN and infinities as well."""
    pool = get_callable("aten.max_pool2d_with_indices.default")
    for seed, (shape, window) in enumerate(itertools.product(SHAPES, WINDOWS)):
        for tensor in (make_hard(shape, dtype, seed), torch.full(shape, float("-inf"), dtype=dtype)):
            expected = torch.ops.aten.max_pool2d_with_indices.default(tensor, *window)
            actual = pool(tensor, *window)
            for one, other in zip(expected, actual, strict=True):
                assert one.stride() == other.stride()
                assert torch.equal(one.view(torch.uint8), other.view(torch.uint8))
