"""From a functional graph to a `Program`: clean-ups, normal forms, numbering.

The clean-ups, in the order of the pass: `detach`, `alias`, `lift_fresh` and copies that change nothing are dropped;
`t` and `transpose` become `permute`, permutes are composed; `_unsafe_view` and `reshape` become `view`; arguments that
name a device, a layout or pinned memory are dropped; nodes without use are removed. Nothing else is rewritten.

Source: `spec/program.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from assay.errors import CaptureRefused
from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence import program as ir
from assay.training.pytorch.functional import KEPT_WHOLE

aten = torch.ops.aten

DTYPE_NAMES = {
    torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32", torch.float64: "f64", torch.bool: "bool",
    torch.uint8: "u8", torch.int8: "i8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64",
}  # fmt: skip
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}

_IDENTITIES = frozenset({
    aten.detach.default, aten.alias.default, aten.lift_fresh.default, aten.lift_fresh_copy.default,
    aten.detach_copy.default, aten.alias_copy.default,
})  # fmt: skip
_DROPPED_KEYWORDS = frozenset({"device", "layout", "pin_memory", "non_blocking"})


@dataclass(frozen=True, slots=True)
class _Output:
    """Output `position` of a node of the graph under construction."""

    node: int
    position: int


@dataclass(frozen=True, slots=True)
class _Input:
    index: int


_Ref = _Output | _Input


@dataclass(slots=True)
class _Draft:
    operator: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    outputs: tuple[ir.TensorType | None, ...]


def get_type(tensor: torch.Tensor) -> ir.TensorType:
    """Return dtype and shape of a tensor in the protocol's words."""
    name = DTYPE_NAMES.get(tensor.dtype)
    if name is None:
        raise CaptureRefused(f"element type {tensor.dtype} is not supported", expected=", ".join(DTYPES))
    return ir.TensorType(name, tuple(int(extent) for extent in tensor.shape))


def get_operator_name(operator: torch._ops.OpOverload) -> str:
    """Return the name of an operator in the closed list, such as `aten.addmm.default`."""
    return f"{operator.namespace}.{operator._opname}.{operator._overloadname}"


@dataclass
class _Lowering:
    """One pass over a graph."""

    scalars: Mapping[float, int]
    drafts: list[_Draft] = field(default_factory=list)
    references: dict[fx.Node, Any] = field(default_factory=dict)

    def lower(self, graph: fx.Graph) -> list[Any]:
        """Fill `drafts`; return the references of the graph's outputs."""
        inputs = 0
        for node in graph.nodes:
            if node.op == "placeholder":
                self.references[node] = _Input(inputs)
                inputs += 1
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                return [self.references[item] for item in node.args[0]]
            else:
                raise CaptureRefused(f"the step hides a tensor as {node.op} {node.target}")
        raise CaptureRefused("the recorded graph has no output")

    def _call(self, node: fx.Node) -> None:
        if getattr(node.target, "__name__", "") == "getitem":
            source: Any
            source, position = node.args
            self.references[node] = self.references[source][position]
            return
        if node.target is aten.copy_.default:
            return  # the write-back to an input that functionalize appends; outputs are returned explicitly
        alias = self._find_alias(node)
        if alias is not None:
            self.references[node] = alias
            return
        rewritten = _NORMAL_FORMS.get(node.target)
        if rewritten is not None:
            operator, arguments, keywords = rewritten(node)
        else:
            target: Any = node.target
            operator, arguments, keywords = KEPT_WHOLE.get(target, target), node.args, node.kwargs
        self._append(node, operator, arguments, keywords)

    def _append(self, node: fx.Node, operator: Any, arguments: Any, keywords: Any) -> None:
        if "val" not in node.meta:
            raise CaptureRefused(
                f"the step calls {operator}, which gives no tensor",
                next_step="leave the call out of the step, or compute with tensors",
            )
        value = node.meta["val"]
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        outputs = tuple(get_type(item) if isinstance(item, torch.Tensor) else None for item in values)
        index = len(self.drafts)
        draft = _Draft(
            get_operator_name(operator),
            tuple(self._argument(item) for item in arguments),
            tuple(sorted((k, self._argument(v)) for k, v in keywords.items() if k not in _DROPPED_KEYWORDS)),
            outputs,
        )
        if operator is aten.permute.default and self._compose_permute(node, draft):
            return
        self.drafts.append(draft)
        references = tuple(_Output(index, position) for position in range(len(outputs)))
        self.references[node] = references if isinstance(value, (list, tuple)) else references[0]

    def _compose_permute(self, node: fx.Node, draft: _Draft) -> bool:
        """Fold a permute of a permute; True if nothing is left of it."""
        source, dims = draft.arguments
        order = [item.value for item in dims.items]
        if isinstance(source, _Output) and self.drafts[source.node].operator == "aten.permute.default":
            inner = self.drafts[source.node]
            inner_order = [item.value for item in inner.arguments[1].items]
            order = [inner_order[position] for position in order]
            source = inner.arguments[0]
            draft.arguments = (source, ir.Sequence(tuple(ir.Integer(position) for position in order)))
        if order == list(range(len(order))):
            self.references[node] = source
            return True
        return False

    def _find_alias(self, node: fx.Node) -> Any:
        target = node.target
        if target in _IDENTITIES:
            return self.references[node.args[0]]  # type: ignore[index]
        if target is aten.copy.default:
            into, source = node.args[0].meta["val"], node.args[1].meta["val"]  # type: ignore[union-attr]
            same = into.dtype == source.dtype and into.shape == source.shape and into.stride() == source.stride()
            return self.references[node.args[1]] if same else None  # type: ignore[index]
        if target in (aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.expand.default):
            source = node.args[0].meta["val"]  # type: ignore[union-attr]
            result = node.meta["val"]
            if source.shape == result.shape and source.stride() == result.stride():
                return self.references[node.args[0]]  # type: ignore[index]
        return None

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self.references[value]
        if isinstance(value, (list, tuple)):
            return ir.Sequence(tuple(self._argument(item) for item in value))
        return _encode_constant(value, self.scalars)


def _encode_constant(value: Any, scalars: Mapping[float, int]) -> Any:
    if value is None:
        return ir.Nothing()
    if isinstance(value, bool):
        return ir.Boolean(value)
    if isinstance(value, int):
        return ir.Integer(value)
    if isinstance(value, float):
        return ir.Scalar(scalars[value]) if value in scalars else ir.Real(float_to_bits(value))
    if isinstance(value, str):
        return ir.Text(value)
    if isinstance(value, torch.dtype):
        return ir.ElementType(DTYPE_NAMES[value])
    if isinstance(value, torch.memory_format):
        return ir.Text(str(value).removeprefix("torch."))
    raise CaptureRefused(f"argument {value!r} of type {type(value).__name__} is not supported")


def _permute_from_t(node: fx.Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    return aten.permute.default, (node.args[0], list(range(rank))[::-1]), {}


def _permute_from_transpose(node: fx.Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    source, first, second = node.args
    order = list(range(source.meta["val"].dim()))  # type: ignore[union-attr]
    order[first], order[second] = order[second], order[first]  # type: ignore[index]
    return aten.permute.default, (source, order), {}


def _permute(node: fx.Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    source, order = node.args
    rank = source.meta["val"].dim()  # type: ignore[union-attr]
    return aten.permute.default, (source, [position % rank for position in order]), {}  # type: ignore[union-attr]


def _view(node: fx.Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    return aten.view.default, (node.args[0], list(node.meta["val"].shape)), {}


def _zeros(node: fx.Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A program has no uninitialised bytes: where torch's own rewriting left some, they are zeros."""
    value = node.meta["val"]
    return aten.zeros.default, (list(value.shape),), {"dtype": value.dtype}


def _full(node: fx.Node) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Overwriting with one number needs nothing of what was there before but its type."""
    value = node.meta["val"]
    if node.target is aten.zero.default:
        if not value.is_contiguous():
            return aten.zeros_like.default, (node.args[0],), {}
        return _zeros(node)
    if not value.is_contiguous():
        return aten.fill.Scalar, node.args, {}
    return aten.full.default, (list(value.shape), node.args[1]), {"dtype": value.dtype}


_NORMAL_FORMS: dict[Any, Callable[[fx.Node], tuple[Any, tuple[Any, ...], dict[str, Any]]]] = {
    aten.empty.memory_format: _zeros,
    aten.empty_like.default: _zeros,
    aten.new_empty.default: _zeros,
    aten.zero.default: _full,
    aten.fill.Scalar: _full,
    aten.t.default: _permute_from_t,
    aten.transpose.int: _permute_from_transpose,
    aten.permute.default: _permute,
    aten.view.default: _view,
    aten._unsafe_view.default: _view,
    aten.reshape.default: _view,
}


def lower_graph(
    graph: fx.Graph,
    *,
    kind: int,
    state: Sequence[ir.StateInput],
    batch: Sequence[ir.TensorType],
    constants: Sequence[ir.Constant],
    scalars: Mapping[float, int],
    row_length: int,
    state_outputs: Sequence[tuple[int, str]],
) -> ir.Program:
    """Return the program of a functional graph.

    Args:
        graph: placeholders in the order state, batch, constants; outputs in the order state outputs, results.
        kind: `program.INITIALISER`, `STEP` or `INFERENCE`.
        state: the tensors of the state that stand first.
        batch: types of the batch's fields.
        constants: those that stand last.
        scalars: sentinel number to index in the scalars row.
        row_length: length of the scalars row.
        state_outputs: (namespace, name) of the first outputs; the rest are results.
    """
    lowering = _Lowering(scalars)
    outputs = lowering.lower(graph)
    inputs = len(state) + len(batch) + len(constants)
    index_of_state = {(entry.namespace, entry.name): index for index, entry in enumerate(state)}
    changed = [
        (key, reference)
        for key, reference in zip(state_outputs, outputs, strict=False)
        if reference != _Input(index_of_state.get(key, -1))
    ]
    results = outputs[len(state_outputs) :]
    keep = _find_live(lowering.drafts, [reference for _, reference in changed] + results)
    numbers, nodes = _number(lowering.drafts, keep, inputs)
    return ir.Program(
        version=0,
        kind=kind,
        state=tuple(state),
        batch=tuple(batch),
        constants=tuple(constants),
        scalars=row_length,
        nodes=tuple(nodes),
        state_outputs=tuple(
            ir.StateOutput(*key, numbers(reference)) for key, reference in sorted(changed, key=_by_key)
        ),
        results=tuple(numbers(reference) for reference in results),
    )


def _by_key(item: tuple[tuple[int, str], Any]) -> tuple[int, bytes]:
    return item[0][0], item[0][1].encode()


def _iterate(argument: Any) -> list[_Output]:
    items = argument.items if isinstance(argument, ir.Sequence) else (argument,)
    return [item for item in items if isinstance(item, _Output)]


def _find_live(drafts: Sequence[_Draft], roots: Sequence[_Ref]) -> list[bool]:
    live = [False] * len(drafts)
    for reference in roots:
        if isinstance(reference, _Output):
            live[reference.node] = True
    for index in range(len(drafts) - 1, -1, -1):
        if live[index]:
            draft = drafts[index]
            for argument in [*draft.arguments, *(value for _, value in draft.keywords)]:
                for reference in _iterate(argument):
                    live[reference.node] = True
    return live


def _number(drafts: Sequence[_Draft], keep: Sequence[bool], inputs: int) -> tuple[Callable[[_Ref], int], list[ir.Node]]:
    first_output: dict[int, int] = {}
    following = inputs

    def number(reference: _Ref) -> int:
        if isinstance(reference, _Input):
            return reference.index
        return first_output[reference.node] + reference.position

    def convert(argument: Any) -> Any:
        if isinstance(argument, (_Input, _Output)):
            return ir.Value(number(argument))
        if isinstance(argument, ir.Sequence):
            return ir.Sequence(tuple(convert(item) for item in argument.items))
        return argument

    nodes = []
    for index, draft in enumerate(drafts):
        if not keep[index]:
            continue
        first_output[index] = following
        following += len(draft.outputs)
        nodes.append(
            ir.Node(
                draft.operator,
                tuple(convert(item) for item in draft.arguments),
                tuple(ir.Keyword(name, convert(value)) for name, value in draft.keywords),
                draft.outputs,
            )
        )
    return number, nodes
