"""ATen calls that no program can repeat: each with what is wrong and a cure.

- A call with an explicit generator: the run's seed decides every draw.
- A call whose output has a shape that depends on values.
- An operator of another library than ATen: a custom operator, or one that talks to other processes.
- An operator that PyTorch lists as not repeatable on the device and with the threads that it has. In PyTorch's
  deterministic mode it takes another way, or refuses by itself, so that nothing is left to refuse here.

Source: `docs/explanation/recording.md`; PyTorch's documentation of `torch.use_deterministic_algorithms`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from assay.errors import CaptureRefused
from assay.training.pytorch.forbidden import RANDOM_CURE, Objection

aten = torch.ops.aten

_KNOWN_LIBRARIES: Final = frozenset({"aten", "assay", "prims", "prim", "profiler"})
_DISTRIBUTED: Final = frozenset({"c10d", "_c10d_functional", "c10d_functional", "symm_mem", "fsdp"})
_BOOLEANS: Final = (torch.bool, torch.uint8)
_INDEXING: Final = frozenset({aten.index, aten.index_put_, aten.index_put})

_BY_SEVERAL_THREADS: Final = frozenset({"index_put", "_unsafe_index_put", "_index_put_impl", "put"})
"""On the CPU: several threads write to, or add up, one element in any order."""

_ON_CUDA: Final = frozenset(
    """
    _adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward _ctc_loss_backward _embedding_bag_backward
    _index_put_impl _unsafe_index_put adaptive_max_pool2d_backward avg_pool3d_backward bincount convolution_backward
    cumsum embedding_dense_backward fractional_max_pool2d_backward fractional_max_pool3d_backward
    grid_sampler_2d_backward grid_sampler_3d_backward histc index_add index_copy index_put
    max_pool3d_with_indices_backward max_unpool2d max_unpool3d median nll_loss2d_forward put
    reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward
    replication_pad2d_backward replication_pad3d_backward scatter scatter_add scatter_reduce
    upsample_bicubic2d_backward upsample_bilinear2d_backward upsample_linear1d_backward
    upsample_trilinear3d_backward
    """.split()
)
"""On CUDA: atomic additions, or libraries that choose between algorithms."""


def find_objection(func: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Objection | None:
    """Return what is wrong with a call and the cure, None if a program can hold it.

    Args:
        func: the operator.
        args: its positional arguments.
        kwargs: its other arguments.
    """
    if func.namespace in _DISTRIBUTED:
        return (
            f"talks to other processes ({func})",
            "train in one process: leave torch.distributed and its wrappers out of the step",
        )
    if func.namespace not in _KNOWN_LIBRARIES:
        return (
            f"calls a custom operator ({func}), whose code is no part of a program",
            "write it with operators of torch, or as a torch.autograd.Function that is made of them",
        )
    if isinstance(kwargs.get("generator"), torch.Generator):
        return f"draws from an explicit torch.Generator ({func})", RANDOM_CURE
    if _depends_on_values(func, args):
        if any(isinstance(result.type, torch.TensorType) for result in func._schema.returns):
            cure = "use a fixed shape: multiply by the mask, or torch.where"
            return f"has an output whose shape depends on values ({func})", cure
        cure = "compare and choose with tensors (==, torch.where), or do it outside the step"
        return f"reads the values of tensors ({func})", cure
    return _find_unrepeatable(func, args)


def selects_by_mask(func: torch._ops.OpOverload, args: Sequence[Any]) -> bool:
    """Return whether a call takes or puts elements where a mask of its indices, its second argument, is true."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
    masks = (isinstance(index, torch.Tensor) and index.dtype in _BOOLEANS for index in indices)
    return func.overloadpacket in _INDEXING and any(masks)


def _depends_on_values(func: torch._ops.OpOverload, args: Sequence[Any]) -> bool:
    if func is aten._local_scalar_dense.default:
        return False
    if not {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(func.tags):
        return False
    return func.overloadpacket not in _INDEXING or selects_by_mask(func, args)


def _find_unrepeatable(func: torch._ops.OpOverload, args: Sequence[Any]) -> Objection | None:
    name = func._opname.rstrip("_")
    if torch.are_deterministic_algorithms_enabled() or name not in _BY_SEVERAL_THREADS | _ON_CUDA:
        return None
    mode = "call torch.use_deterministic_algorithms(True) before assay.start"
    is_cuda = any(tensor.is_cuda for tensor in _iterate_tensors(args))
    if is_cuda and name in _ON_CUDA:
        return f"calls an operator that is not repeatable on CUDA ({func})", mode
    if not is_cuda and name in _BY_SEVERAL_THREADS and torch.get_num_threads() > 1:
        return (
            f"calls an operator that is not repeatable by several threads ({func})",
            f"record with threads=1, or {mode}",
        )
    return None


def refuse_unrepeatable(func: torch._ops.OpOverload, error: RuntimeError, location: object) -> None:
    """Refuse a call that PyTorch itself refused because it has no repeatable form on the device.

    Args:
        func: the operator.
        error: what it raised.
        location: of the call, for the message.

    Raises:
        CaptureRefused: with line and cure; nothing is raised for any other error.
    """
    if "does not have a deterministic implementation" in str(error):
        raise CaptureRefused(
            f"{location}: the step calls an operator that is not repeatable on this device ({func})",
            actual=str(error).splitlines()[0][:300],
            next_step="write it with operators that are, or record on the CPU",
        ) from error


def _iterate_tensors(args: Sequence[Any]) -> Iterator[torch.Tensor]:
    for argument in args:
        if isinstance(argument, torch.Tensor):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from _iterate_tensors(argument)
