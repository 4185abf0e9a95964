"""Calls over lists of tensors, taken apart: the bits of torch's own list form, in every floating type."""

import pytest
import torch

from assay.training.pytorch.list_operators import run_apart

aten = torch.ops.aten
NUMBER, NUMBERS = 0.3123, [0.3123, 0.771]
CALLS = {
    "mul": (aten._foreach_mul_.Scalar, 1, NUMBER),
    "mul by each": (aten._foreach_mul_.ScalarList, 1, NUMBERS),
    "mul by a tensor": (aten._foreach_mul_.Tensor, 1, torch.tensor(NUMBER)),
    "mul to new ones": (aten._foreach_mul.Scalar, 1, NUMBER),
    "div": (aten._foreach_div_.Scalar, 1, NUMBER),
    "div by each": (aten._foreach_div_.ScalarList, 1, NUMBERS),
    "add": (aten._foreach_add_.Scalar, 1, NUMBER),
    "add to each": (aten._foreach_add_.ScalarList, 1, NUMBERS),
    "add lists": (aten._foreach_add_.List, 2),
    "sub": (aten._foreach_sub_.Scalar, 1, NUMBER),
    "lerp": (aten._foreach_lerp_.Scalar, 2, NUMBER),
    "lerp of each": (aten._foreach_lerp_.ScalarList, 2, NUMBERS),
    "addcmul": (aten._foreach_addcmul_.Scalar, 3, NUMBER),
    "addcmul of each": (aten._foreach_addcmul_.ScalarList, 3, NUMBERS),
    "addcdiv": (aten._foreach_addcdiv_.Scalar, 3, NUMBER),
    "addcdiv of each": (aten._foreach_addcdiv_.ScalarList, 3, NUMBERS),
    "pow": (aten._foreach_pow.Scalar, 1, NUMBER),
    "sqrt": (aten._foreach_sqrt.default, 1),
    "rsqrt": (aten._foreach_rsqrt_.default, 1),
    "clamp": (aten._foreach_clamp_min_.Scalar, 1, NUMBER),
    "maximum": (aten._foreach_maximum_.List, 2),
}
"""Operator, how many lists of tensors it takes, and its number or numbers."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CALLS)
def test_taken_apart_they_have_the_same_bits(name, dtype):
    """One call per tensor gives what the one call gives."""
    operator, lists, *numbers = CALLS[name]

    def compute(run):
        generator = torch.Generator().manual_seed(1)
        tensors = [[torch.rand(50, 7, generator=generator).to(dtype) + 0.1 for _ in range(2)] for _ in range(lists)]
        result = run((*tensors, *numbers))
        return tensors[0] if result is None else result

    whole = compute(lambda args: operator(*args))
    apart = compute(lambda args: run_apart(operator, args, {}, lambda single, each, named: single(*each, **named)))
    for one, other in zip(whole, apart, strict=True):
        assert torch.equal(one, other)
