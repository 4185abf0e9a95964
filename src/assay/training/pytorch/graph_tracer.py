"""A graph of the calls that a function makes under `functionalize`, with the type and strides of each value.

`torch.fx` has such a tracer; it keeps a stack trace and a fake tensor for each call, which for long programs takes
longer than everything else that recording does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.func import functionalize
from torch.utils._python_dispatch import TorchDispatchMode

from assay.errors import CaptureRefused

aten = torch.ops.aten


def _describe(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor without memory that has the type, shape and strides of another."""
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


class _Tracer(TorchDispatchMode):
    """Writes every call into a graph; a value is known by the tensor object, which is kept alive."""

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.nodes: dict[int, fx.Node] = {}
        self.alive: list[Any] = []
        for number, tensor in enumerate(inputs):
            node = self.graph.placeholder(f"input_{number}")
            node.meta["val"] = _describe(tensor)
            self.know(tensor, node)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def know(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """Remember what a tensor is the value of."""
        self.nodes[id(tensor)] = node
        self.alive.append(tensor)

    def find(self, value: Any) -> Any:
        """Return the node of a tensor, anything else as it is."""
        if isinstance(value, torch.Tensor):
            node = self.nodes.get(id(value))
            if node is None:
                raise CaptureRefused(
                    "the step uses a tensor whose origin was not seen",
                    next_step="read nothing of optimizer.state in the step, and keep what it needs in a buffer",
                )
            return node
        if isinstance(value, (list, tuple)):
            return type(value)(self.find(item) for item in value) if type(value) in (list, tuple) else value
        return value

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is aten.copy_.default:  # the write-back to an input that functionalize appends
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        arguments = tuple(self.find(item) for item in args)
        node = self.graph.call_function(func, arguments, {name: self.find(value) for name, value in kwargs.items()})
        if isinstance(result, torch.Tensor):
            node.meta["val"] = _describe(result)
            self.know(result, node)
        elif isinstance(result, (list, tuple)):
            self._unpack(node, result)
        return result

    def _unpack(self, node: fx.Node, results: Sequence[Any]) -> None:
        values = [_describe(value) if isinstance(value, torch.Tensor) else value for value in results]
        node.meta["val"] = values
        for position, (value, described) in enumerate(zip(results, values, strict=True)):
            if isinstance(value, torch.Tensor):
                item = self.graph.call_function(operator.getitem, (node, position))
                item.meta["val"] = described
                self.know(value, item)


def trace(function: Callable[..., list[torch.Tensor]], inputs: Sequence[torch.Tensor]) -> fx.Graph:
    """Run a function under `functionalize` and return the graph of its calls.

    Args:
        function: from the inputs to a list of tensors; it may change its inputs.
        inputs: tensors of its own; what is changed is written into them.

    Raises:
        CaptureRefused: a call uses a tensor that is neither an input nor the result of another call.
    """
    tracer = _Tracer(inputs)
    with tracer:
        outputs = functionalize(function, remove="mutations")(*inputs)
    tracer.graph.output([tracer.find(output) for output in outputs])
    return tracer.graph
