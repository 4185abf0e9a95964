"""Operands from which PyTorch's CPU kernels would read or write outside a tensor, because they do not check them.

Each rule was found by calling the kernel with operands of another size or with indices out of range: it crashed, or
computed with bytes that belong to somebody else. Operators that are not listed here check their operands themselves.
The rules look at the types that the program states; whoever runs a program compares them with the tensors.

Source: `spec/program.md`, PRG-18 to PRG-21, PRG-24.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.evidence.program import (
    Argument,
    Boolean,
    Integer,
    Node,
    Nothing,
    Program,
    Sequence,
    TensorType,
    Value,
    get_values,
)


class UnsafeOperand(MalformedEvidence):
    """An operand with which a kernel could leave the memory of its tensors."""

    code: ClassVar[str] = "program.unsafe-operand"


class _Call:
    """One node, its arguments by place or name, and who made its operands."""

    def __init__(self, node: Node, types: list[TensorType | None], made: dict[int, tuple[_Call, int]]) -> None:
        self.node = node
        self.types = types
        self.made = made
        self.named = {keyword.name: keyword.value for keyword in node.keywords}

    def get(self, place: int, name: str) -> Argument:
        """Return an argument, `Nothing` if it is absent."""
        if place < len(self.node.arguments):
            return self.node.arguments[place]
        return self.named.get(name, Nothing())

    def get_shape(self, place: int, name: str) -> tuple[int, ...] | None:
        """Return the shape of a tensor argument, None if it is absent."""
        argument = self.get(place, name)
        if isinstance(argument, Nothing):
            return None
        kind = self.types[argument.index] if isinstance(argument, Value) else None
        if kind is None:
            raise self.refuse(f"{name} is no tensor")
        return kind.shape

    def require_type(self, place: int) -> TensorType:
        """Return the type of an argument in a place, which must be a tensor."""
        argument = self.node.arguments[place] if place < len(self.node.arguments) else Nothing()
        kind = self.types[argument.index] if isinstance(argument, Value) else None
        if kind is None:
            raise self.refuse(f"argument {place} is no tensor")
        return kind

    def require_shape(self, place: int, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor argument that must be there."""
        shape = self.get_shape(place, name)
        if shape is None:
            raise self.refuse(f"{name} is missing")
        return shape

    def get_integers(self, place: int, name: str) -> tuple[int, ...]:
        """Return an argument that is a number or a list of numbers, as a tuple; () if it is absent."""
        argument = self.get(place, name)
        if isinstance(argument, Nothing):
            return ()
        items = argument.items if isinstance(argument, Sequence) else (argument,)
        if not all(isinstance(item, Integer) for item in items):
            raise self.refuse(f"{name} is no number")
        return tuple(item.value for item in items if isinstance(item, Integer))

    def get_maker(self, place: int, name: str, operator: str, output: int) -> _Call:
        """Return the node whose output `output` an argument is; it must be of `operator`."""
        argument = self.get(place, name)
        maker, offset = self.made.get(argument.index, (None, 0)) if isinstance(argument, Value) else (None, 0)
        if maker is None or maker.node.operator != operator or offset != output:
            raise self.refuse(f"{name} does not come from {operator}")
        return maker

    def require(self, holds: bool, what: str) -> None:  # noqa: FBT001 - a condition, not a flag
        """Refuse the node unless a condition holds."""
        if not holds:
            raise self.refuse(what)

    def refuse(self, what: str) -> UnsafeOperand:
        """Return the refusal."""
        return UnsafeOperand(f"{self.node.operator} could leave the memory of its operands: {what}")


def verify_operands(program: Program) -> None:
    """Check the operands of every node whose kernel does not (PRG-18 to PRG-21, PRG-24), in O(length of the program).

    Raises:
        UnsafeOperand: naming the operator and the operand.
    """
    types = get_values(program)
    number = len(types) - sum(len(node.outputs) for node in program.nodes)
    made: dict[int, tuple[_Call, int]] = {}
    for node in program.nodes:
        rule = _RULES.get(node.operator)
        if rule is not None or node.operator in _MAKERS:
            call = _Call(node, types, made)
            if rule is not None:
                rule(call)
            made.update({number + offset: (call, offset) for offset in range(len(node.outputs))})
        number += len(node.outputs)


# -- indices: PRG-18 -------------------------------------------------------------------------------------------------


def _verify_pool_backward(forward: str, place: int) -> Callable[[_Call], None]:
    def verify(call: _Call) -> None:
        maker = call.get_maker(place, "indices", forward, 1)
        call.require(maker.get_shape(0, "self") == call.require_shape(1, "self"), "the indices are for another input")
        # A dilated window can lie in the padding altogether; its index is then outside the input.
        call.require(set(maker.get_integers(4, "dilation")) <= {1}, "a dilated window has indices outside its input")

    return verify


def _verify_loss_backward(forward: str) -> Callable[[_Call], None]:
    def verify(call: _Call) -> None:
        if call.get_integers(4, "reduction") in {(1,), (2,)}:
            return  # the kernel checks each target
        maker = call.get_maker(6, "total_weight", forward, 1)  # which checked the same targets
        call.require(maker.get(1, "target") == call.get(2, "target"), "target was not checked")
        call.require(maker.get(4, "ignore_index") == call.get(5, "ignore_index"), "target was not checked")
        call.require(maker.get_shape(0, "self") == call.require_shape(1, "self"), "target was checked elsewhere")
        weight, size = call.get_shape(3, "weight"), call.require_shape(1, "self")
        call.require(weight is None or weight == (size[1 if len(size) > 1 else 0],), "weight has another size")

    return verify


def _verify_margin_backward(place: int) -> Callable[[_Call], None]:
    """The kernels check the targets, and read one gradient for each row, or one, whatever there is."""

    def verify(call: _Call) -> None:
        shape = call.require_shape(1, "self")
        reduction = call.get_integers(place, "reduction") or (1,)
        wanted = shape[0] if reduction == (0,) and len(shape) == 2 else 1
        call.require(prod(call.require_shape(0, "grad_output")) == wanted, f"grad_output has not {wanted} elements")

    return verify


def _verify_embedding_backward(call: _Call) -> None:
    call.require(call.get(4, "scale_grad_by_freq") == Boolean(value=False), "indices are counted without a check")


_BAGS = "aten._embedding_bag.default"
_STEPS = "aten.arange.start_step"


def _verify_bags(call: _Call) -> None:
    maker = call.get_maker(2, "offsets", _STEPS, 0)  # ascending from 0; the kernel checks the last one alone
    step = maker.get_integers(2, "step")
    call.require(maker.get_integers(0, "start") == (0,) and len(step) == 1 and step[0] >= 1, "offsets do not ascend")
    call.require(len(call.require_shape(1, "indices")) == len(call.require_shape(2, "offsets")) == 1, "shape")
    for place, name in ((3, "scale_grad_by_freq"), (5, "sparse"), (7, "include_last_offset")):
        call.require(call.get(place, name) in (Nothing(), Boolean(value=False)), f"{name} is not false")
    call.require(call.get_shape(6, "per_sample_weights") is None, "per_sample_weights")


def _verify_bags_backward(call: _Call) -> None:
    makers = [call.get_maker(place, "offset2bag, bag_size, maximum_indices", _BAGS, place - 2) for place in (3, 4, 5)]
    forward = makers[0]
    call.require(forward is makers[1] and forward is makers[2], "indices of another bag")
    for place, name in ((1, "indices"), (2, "offsets")):
        call.require(call.get(place, name) == forward.get(place, name), f"{name} were not checked")
    rows, width = forward.require_shape(0, "weight")
    call.require(call.get_integers(6, "num_weights") == (rows,), "num_weights is not that of the weight")
    call.require(call.require_shape(0, "grad") == (*forward.require_shape(2, "offsets"), width), "grad")
    same_mode = call.get_integers(8, "mode") == (forward.get_integers(4, "mode") or (0,))
    same_padding = (call.get_integers(11, "padding_idx") or (-1,)) == (forward.get_integers(8, "padding_idx") or (-1,))
    call.require(same_mode and same_padding, "mode or padding_idx is another one")
    for place, name in ((7, "scale_grad_by_freq"), (9, "sparse")):
        call.require(call.get(place, name) == Boolean(value=False), f"{name} is not false")
    call.require(call.get_shape(10, "per_sample_weights") is None, "per_sample_weights")


def _verify_unfold_backward(call: _Call) -> None:
    grad, sizes = call.require_shape(0, "grad_in"), list(call.get_integers(1, "input_sizes"))
    dim, size, step = (call.get_integers(i, name) for i, name in ((2, "dim"), (3, "size"), (4, "step")))
    call.require(len(sizes) > 0 and all(len(value) == 1 for value in (dim, size, step)), "a number is missing")
    call.require(-len(sizes) <= dim[0] < len(sizes) and step[0] >= 1, "dim or step is out of range")
    call.require(0 <= size[0] <= sizes[dim[0]], "size is out of range")
    sizes[dim[0]] = (sizes[dim[0]] - size[0]) // step[0] + 1
    call.require(grad == (*sizes, size[0]), "grad has another shape")


# -- normalisation: PRG-19 -------------------------------------------------------------------------------------------


def _require_vectors(call: _Call, size: int, *vectors: tuple[int, str]) -> None:
    for place, name in vectors:
        call.require(call.get_shape(place, name) in {None, (size,)}, f"{name} has another size than {size}")


def _get_channels(call: _Call, place: int) -> int:
    shape = call.require_shape(place, "input")
    call.require(len(shape) >= 2, "the input has no channels")
    return shape[1]


def _verify_batch_norm(call: _Call) -> None:
    size = _get_channels(call, 0)
    _require_vectors(call, size, (1, "weight"), (2, "bias"))
    if call.node.operator.endswith("no_stats"):
        call.require(call.get(3, "training") == Boolean(value=True), "no statistics")
        return
    _require_vectors(call, size, (3, "running_mean"), (4, "running_var"))
    if call.get(5, "training") != Boolean(value=True):
        call.require(call.get_shape(3, "running_mean") == call.get_shape(4, "running_var") == (size,), "no statistics")


def _verify_batch_norm_backward(call: _Call) -> None:
    size = _get_channels(call, 1)
    call.require(call.require_shape(0, "grad_out") == call.get_shape(1, "input"), "grad_out has another shape")
    _require_vectors(call, size, (2, "weight"), (3, "running_mean"), (4, "running_var"))
    if call.get(7, "train") == Boolean(value=False):  # the saved vectors are not read
        call.require(call.get_shape(3, "running_mean") == call.get_shape(4, "running_var") == (size,), "no statistics")
        return
    for place, name in ((5, "save_mean"), (6, "save_invstd")):
        call.require(call.get_shape(place, name) == (size,), f"{name} has another size than {size}")


def _verify_layer_norm_backward(call: _Call) -> None:
    shape, normalised = call.require_shape(1, "input"), call.get_integers(2, "normalized_shape")
    call.require(0 < len(normalised) <= len(shape) and shape[len(shape) - len(normalised) :] == normalised, "shape")
    call.require(call.require_shape(0, "grad_out") == shape, "grad_out has another shape")
    rows = prod(shape[: len(shape) - len(normalised)])
    for place, name in ((3, "mean"), (4, "rstd")):
        call.require(prod(call.require_shape(place, name)) == rows, f"{name} has another size than {rows}")
    for place, name in ((5, "weight"), (6, "bias")):
        call.require(call.get_shape(place, name) in {None, normalised}, f"{name} has another shape")


def _require_norms(call: _Call, shape: tuple[int, ...], dim: int, *norms: tuple[int, str]) -> None:
    dims = call.get_integers(dim, "dim") or (0,)
    call.require(len(shape) > 0 and dims in {(0,), (len(shape) - 1,)}, "dim is neither the first nor the last")
    for place, name in norms:
        call.require(prod(call.require_shape(place, name)) == shape[dims[0]], f"{name} has another size")


def _verify_weight_norm(call: _Call) -> None:
    _require_norms(call, call.require_shape(0, "v"), 2, (1, "g"))


def _verify_weight_norm_backward(call: _Call) -> None:
    shape = call.require_shape(1, "saved_v")
    call.require(call.require_shape(0, "grad_w") == shape, "grad_w has another shape")
    _require_norms(call, shape, 4, (2, "saved_g"), (3, "saved_norms"))


# -- padding: PRG-24 -------------------------------------------------------------------------------------------------


def _verify_padding_backward(dims: int, *, is_reflected: bool) -> Callable[[_Call], None]:
    def verify(call: _Call) -> None:
        shape, pads = call.require_shape(1, "self"), call.get_integers(2, "padding")
        call.require(len(pads) == 2 * dims and len(shape) in {dims + 1, dims + 2}, "padding has another length")
        padded = list(shape)
        for place in range(dims):  # the last extent's pads come first
            extent, around = shape[-1 - place], pads[2 * place : 2 * place + 2]
            call.require(all(pad > -extent for pad in around), "more is cut off than there is")
            call.require(not is_reflected or all(pad < extent for pad in around), "more is reflected than there is")
            padded[-1 - place] += sum(around)
        call.require(
            min(padded) > 0 and call.require_shape(0, "grad_output") == tuple(padded), "grad has another shape"
        )

    return verify


# -- attention: PRG-20 -----------------------------------------------------------------------------------------------


def _verify_attention(first: int) -> Callable[[_Call], None]:
    def verify(call: _Call) -> None:
        query, key = call.require_shape(first, "query"), call.require_shape(first + 1, "key")
        call.require(len(query) == len(key) == 4, "query and key have four dimensions")
        call.require(key == call.require_shape(first + 2, "value"), "value has another shape than key")
        call.require((query[0], query[3]) == (key[0], key[3]), "query and key do not fit")
        call.require(key[1] > 0 and query[1] % key[1] == 0, "the heads of the query are no multiple of the key's")
        call.require(not call.node.arguments[first + 5 + (2 if first else 0) :], "a mask is passed by its name")
        mask = call.get_shape(2**20, "attn_mask")
        if mask is not None:
            call.require(len(mask) in {2, 4}, "the mask has another number of dimensions")
            full = (*query[:3], key[2])[4 - len(mask) :]
            fits = all(extent in {1, wanted} for extent, wanted in zip(mask, full, strict=True))
            call.require(fits and mask[-1] == key[2], "the mask has another shape")
        if first:
            call.require(call.require_shape(0, "grad_out") == call.require_shape(4, "out") == query, "another shape")
            call.require(call.require_shape(5, "logsumexp") == query[:3], "logsumexp has another shape")

    return verify


# -- fused updates: PRG-21 -------------------------------------------------------------------------------------------


def _verify_update(tensors: int) -> Callable[[_Call], None]:
    def verify(call: _Call) -> None:
        call.require(len(call.node.arguments) == tensors, f"there are not {tensors} tensors")
        kinds = [call.require_type(place) for place in range(tensors)]
        call.require(all(kind == kinds[0] for kind in kinds), "gradient or slots have another type than the parameter")

    return verify


_MAKERS: Final = frozenset({
    "aten.adaptive_max_pool2d.default", "aten.max_pool2d_with_indices.default",
    "aten.nll_loss2d_forward.default", "aten.nll_loss_forward.default", _BAGS, _STEPS,
})  # fmt: skip
"""Operators whose outputs the rules for indices follow."""

_RULES: Final[dict[str, Callable[[_Call], None]]] = {
    "aten.adaptive_max_pool2d_backward.default": _verify_pool_backward("aten.adaptive_max_pool2d.default", 2),
    "aten.max_pool2d_with_indices_backward.default": _verify_pool_backward("aten.max_pool2d_with_indices.default", 7),
    "aten.nll_loss_backward.default": _verify_loss_backward("aten.nll_loss_forward.default"),
    "aten.nll_loss2d_backward.default": _verify_loss_backward("aten.nll_loss2d_forward.default"),
    "aten.multi_margin_loss_backward.default": _verify_margin_backward(6),
    "aten.multilabel_margin_loss_backward.default": _verify_margin_backward(3),
    "aten.embedding_dense_backward.default": _verify_embedding_backward,
    _BAGS: _verify_bags,
    "aten._embedding_bag_backward.default": _verify_bags_backward,
    "aten.unfold_backward.default": _verify_unfold_backward,
    **{
        f"aten.{kind}_pad{dims}d_backward.default": _verify_padding_backward(dims, is_reflected=kind == "reflection")
        for kind in ("reflection", "replication")
        for dims in (1, 2, 3)
    },
    "aten.native_batch_norm.default": _verify_batch_norm,
    "aten._native_batch_norm_legit_functional.default": _verify_batch_norm,
    "aten._native_batch_norm_legit.no_stats": _verify_batch_norm,
    "aten.native_batch_norm_backward.default": _verify_batch_norm_backward,
    "aten.native_layer_norm_backward.default": _verify_layer_norm_backward,
    "aten._weight_norm_interface.default": _verify_weight_norm,
    "aten._weight_norm_interface_backward.default": _verify_weight_norm_backward,
    "aten._scaled_dot_product_flash_attention_for_cpu.default": _verify_attention(0),
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": _verify_attention(1),
    "assay.fused_sgd.default": _verify_update(2),
    "assay.fused_sgd.first": _verify_update(2),
    "assay.fused_sgd.momentum": _verify_update(3),
    "assay.fused_adam.default": _verify_update(4),
    "assay.fused_adam.amsgrad": _verify_update(5),
    "assay.fused_adamw.default": _verify_update(4),
    "assay.fused_adamw.amsgrad": _verify_update(5),
    "assay.fused_adagrad.default": _verify_update(3),
}
