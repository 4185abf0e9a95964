"""Runs a program quickly: straight-line Python that was generated from it, with the bits of the naive interpreter.

What it does beside the interpreter: values are dropped at their last use; an operator writes into its first argument
when nothing reads that memory any more; the state is updated in place; updates of small tensors are one call over a
list. What it never does: fuse, re-tile or reorder arithmetic.

The generated source holds numbers, names of our own making and nothing else from the program: operators are looked up
in the closed list and bound as globals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from assay.errors import UsageError
from assay.protocol.encoding import bits_to_float
from assay.protocol.evidence import program as ir
from assay.training.pytorch import devices, draws
from assay.training.pytorch.bindings import (
    add_number,
    add_number_inplace,
    get_callable,
    get_inplace_method,
    get_list_function,
    get_plain_callable,
)
from assay.training.pytorch.interpreter import (
    MEMORY_FORMATS,
    get_operator,
    make_constant,
    make_observing,
    run_node,
    takes_device,
)
from assay.training.pytorch.lower import DTYPES
from assay.training.pytorch.schedule import Memory, compute_schedule, get_first_outputs, iterate_values
from assay.training.work_digest import Observer

_DRAWS: dict[str, Callable[..., Any]] = {
    "assay.bernoulli.default": draws.bernoulli,
    "assay.uniform.default": draws.uniform,
    "assay.normal.default": draws.normal,
    "assay.integers.default": draws.integers,
    "assay.permutation.default": draws.permutation,
}

Step = Callable[[Sequence[torch.Tensor], Sequence[float]], tuple[torch.Tensor, ...]]


def measure_strides(
    program: ir.Program, state: Sequence[torch.Tensor], batch: Sequence[torch.Tensor]
) -> list[tuple[int, ...] | None]:
    """Return the strides of every value, found by running the program once, as the naive interpreter does.

    The contents of `state` and `batch` are read and not changed.
    """
    values: list[Any] = [*state, *batch, *(make_constant(constant) for constant in program.constants)]
    strides: list[tuple[int, ...] | None] = [tensor.stride() for tensor in values]
    last = Memory(program, [(index,) for index in range(len(program.nodes))]).last_direct
    row = [0.5] * program.scalars
    with torch.inference_mode(), draws.use_key((0, 0)):
        for index, node in enumerate(program.nodes):
            outputs = run_node(node, values, row, devices.get_device())
            values.extend(outputs)
            strides.extend(output.stride() if isinstance(output, torch.Tensor) else None for output in outputs)
            for number in iterate_values(node):
                if last[number] == index:
                    values[number] = None
    return strides


class _Source:
    """Builds the source of one program's function."""

    def __init__(
        self,
        program: ir.Program,
        state: Sequence[torch.Tensor],
        strides: Sequence[Any],
        observer: Observer | None = None,
    ) -> None:
        self.program = program
        self.device = devices.get_device()
        is_plain = self.device == devices.CPU  # lists and turned memory are known to keep the bits on the CPU alone
        self.find_callable = get_callable if is_plain else get_plain_callable
        self.watched = frozenset(observer.choose(program)) if observer is not None else frozenset()
        self.observe = make_observing(observer) if observer is not None else None
        self.strides = strides
        self.types = ir.get_values(program)
        self.first = get_first_outputs(program)
        self.schedule: list[tuple[int, ...]] = [(index,) for index in range(len(program.nodes))]
        if is_plain:
            self.schedule = compute_schedule(program)
        self.memory = Memory(program, self.schedule)
        self.names: dict[int, str] = {}
        self.lives_in: dict[int, int] = {}  # value -> value that owned its memory first
        self.globals: dict[str, Any] = {"__builtins__": {}}
        self.lines: list[str] = []
        self.drop_at: dict[int, list[int]] = {}
        for number, position in self.memory.last_direct.items():
            self.drop_at.setdefault(position, []).append(number)
        self._bind_inputs(state)

    def _bind_inputs(self, state: Sequence[torch.Tensor]) -> None:
        number = 0
        for tensor in state:
            self._bind_global(number, f"s{number}", tensor)
            number += 1
        count = len(self.program.batch)
        if count:
            self.lines.append(f"{', '.join(f'b{i}' for i in range(count))}, = batch")
        for index in range(count):
            self.names[number] = f"b{index}"
            number += 1
        for index, constant in enumerate(self.program.constants):
            self._bind_global(number, f"c{index}", make_constant(constant))
            number += 1

    def _bind_global(self, number: int, name: str, value: Any) -> None:
        self.names[number] = name
        self.globals[name] = value

    def build(self) -> Step:
        """Return the compiled function."""
        for position, members in enumerate(self.schedule):
            if len(members) == 1:
                self._emit_single(position, members[0])
            else:
                self._emit_group(position, members)
            self._emit_observed(members)
            self._drop(position)
        names = self._emit_write_back()
        results = ", ".join(names.get(number, self.names[number]) for number in self.program.results)
        self.lines.append(f"return ({results}{',' if results else ''})")
        body = "\n    ".join(self.lines)
        source = f"def step(batch, row):\n    {body}\n"
        exec(compile(source, "<assay step program>", "exec"), self.globals)
        step: Step = self.globals["step"]
        return step

    def _emit_observed(self, members: tuple[int, ...]) -> None:
        """Show chosen values as soon as they are there: their memory may be written over later."""
        for index in members if self.watched else ():
            for number in range(self.first[index], self.first[index] + len(self.program.nodes[index].outputs)):
                if number in self.watched:
                    self.lines.append(f"{self._bind_function('observe', self.observe)}({number}, {self.names[number]})")

    def _drop(self, position: int) -> None:
        names = [self.names[number] for number in self.drop_at.get(position, ())]
        local = sorted({name for name in names if name.startswith("v")})
        kept = {name for number, name in self.names.items() if self.memory.last_direct.get(number, -1) > position}
        dead = [name for name in local if name not in kept]
        if dead:
            self.lines.append(f"del {', '.join(dead)}")

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _emit_single(self, position: int, index: int) -> None:
        node = self.program.nodes[index]
        number = self.first[index]
        method = get_inplace_method(node.operator)
        if method is not None and self._may_overwrite(position, node, number):
            target = self._first_value(node)
            function = self._bind_function(f"{node.operator}_", method)
            self.lines.append(f"{function}({self._arguments(node)})")
            self._alias(number, target)
            return
        function = self._bind_function(node.operator, _DRAWS.get(node.operator) or self.find_callable(node.operator))
        names = []
        for offset in range(len(node.outputs)):
            self.names[number + offset] = f"v{number + offset}"
            read = (number + offset) in self.memory.last_direct
            names.append(f"v{number + offset}" if read else "_")
        if len(names) == 1 and not self._returns_list(node):
            self.lines.append(f"{names[0]} = {function}({self._arguments(node)})")
        else:
            self.lines.append(f"{', '.join(names)}, = {function}({self._arguments(node)})")

    def _returns_list(self, node: ir.Node) -> bool:
        returns = get_operator(node.operator)._schema.returns
        return len(returns) > 1 or (len(returns) == 1 and str(returns[0].type) == "List[Tensor]")

    def _emit_group(self, position: int, members: tuple[int, ...]) -> None:
        nodes = [self.program.nodes[index] for index in members]
        pairs = zip(members, nodes, strict=True)
        inplace = all(self._may_overwrite(position, node, self.first[index]) for index, node in pairs)
        inplace = inplace and not self._rounds_number(nodes[0])
        function = self._bind_list_function(nodes[0], inplace=inplace)
        parts = [self._column([node.arguments[place] for node in nodes]) for place in range(len(nodes[0].arguments))]
        parts += [
            f"{keyword.name}={self._column([node.keywords[place].value for node in nodes])}"
            for place, keyword in enumerate(nodes[0].keywords)
        ]
        call = f"{function}({', '.join(parts)})"
        if inplace:
            self.lines.append(call)
            for index, node in zip(members, nodes, strict=True):
                self._alias(self.first[index], self._first_value(node))
            return
        for index in members:
            self.names[self.first[index]] = f"v{self.first[index]}"
        self.lines.append(f"{', '.join(self.names[self.first[index]] for index in members)}, = {call}")

    @staticmethod
    def _rounds_number(node: ir.Node) -> bool:
        """True for products of 16 bits by a number: torch's list form rounds the number if it works in place."""
        kind = node.outputs[0]
        is_number = node.operator == "aten.mul.Tensor" and not isinstance(node.arguments[1], ir.Value)
        return is_number and kind is not None and kind.dtype in ("bf16", "f16")

    def _bind_list_function(self, node: ir.Node, *, inplace: bool) -> str:
        if node.operator == "aten.add.Tensor" and not isinstance(node.arguments[1], ir.Value):
            return self._bind_function(f"add_number{inplace}", add_number_inplace if inplace else add_number)
        return self._bind_function(f"{node.operator}_list{inplace}", get_list_function(node.operator, inplace=inplace))

    def _column(self, arguments: list[ir.Argument]) -> str:
        if not isinstance(arguments[0], ir.Value):
            return self._argument(arguments[0])
        numbers = [argument.index for argument in arguments if isinstance(argument, ir.Value)]
        type_ = self.types[numbers[0]]
        if len(set(numbers)) == 1 and type_ is not None and not type_.shape:
            return self.names[numbers[0]]
        return f"[{', '.join(self.names[number] for number in numbers)}]"

    @staticmethod
    def _first_value(node: ir.Node) -> int:
        first = node.arguments[0]
        if not isinstance(first, ir.Value):
            raise UsageError(f"{node.operator} has no tensor as its first argument")
        return first.index

    def _may_overwrite(self, position: int, node: ir.Node, number: int) -> bool:
        """True if the node may write its result over its first argument."""
        if not node.arguments or not isinstance(node.arguments[0], ir.Value):
            return False
        target = node.arguments[0].index
        owner = self.memory.owner[target]
        states = len(self.program.state)
        if states <= owner < self.first[0]:  # batch and constants are not ours to change
            return False
        same_type = self.types[target] == self.types[number] and self.strides[target] == self.strides[number]
        if not same_type or self.types[owner] != self.types[target]:
            return False
        others = [value for value in iterate_values(node) if self.memory.owner[value] == owner]
        return self.memory.last.get(owner) == position and len(others) == 1 and not self._shared(owner)

    def _shared(self, owner: int) -> bool:
        """True if the memory of `owner` was handed on by an earlier overwrite and is still read under another name."""
        return owner in self.lives_in.values()

    def _alias(self, number: int, target: int) -> None:
        self.names[number] = self.names[target]
        self.lives_in[number] = self.memory.owner[target]

    # -- arguments ----------------------------------------------------------------------------------------------------

    def _bind_function(self, key: str, function: Callable[..., Any] | None) -> str:
        name = "f_" + "".join(c if c.isalnum() else "_" for c in key)
        self.globals[name] = function
        return name

    def _arguments(self, node: ir.Node) -> str:
        parts = [self._argument(argument) for argument in node.arguments]
        parts += [f"{keyword.name}={self._argument(keyword.value)}" for keyword in node.keywords]
        if self.device != devices.CPU and takes_device(node.operator):
            self.globals["device"] = self.device
            parts.append("device=device")
        return ", ".join(parts)

    def _argument(self, argument: ir.Argument) -> str:
        match argument:
            case ir.Value():
                return self.names[argument.index]
            case ir.Scalar():
                return f"row[{argument.index}]"
            case ir.Sequence():
                items = [self._argument(item) for item in argument.items]
                if any(isinstance(item, (ir.Value, ir.Scalar)) for item in argument.items):
                    return f"[{', '.join(items)}]"
                return f"({', '.join(items)}{',' if items else ''})"
            case ir.Integer() | ir.Boolean():
                return repr(argument.value)
            case ir.Nothing():
                return "None"
            case _:
                return self._bind_literal(argument)

    def _bind_literal(self, argument: ir.Argument) -> str:
        value: Any
        if isinstance(argument, ir.Real):
            value = bits_to_float(argument.bits)
        elif isinstance(argument, ir.ElementType):
            value = DTYPES[argument.name]
        elif isinstance(argument, ir.Text):
            value = MEMORY_FORMATS.get(argument.value, argument.value)
        else:
            raise UsageError(f"unknown kind of argument {type(argument).__name__}")
        name = f"k{len(self.globals)}"
        self.globals[name] = value
        return name

    # -- state --------------------------------------------------------------------------------------------------------

    def _emit_write_back(self) -> dict[int, str]:
        """Copy into the state what was not computed in place; a value that lives in other state is cloned first.

        Returns:
            Names of clones for the results that lived in memory which is written here.
        """
        clone = self._bind_function("clone", torch.Tensor.clone)
        copy = self._bind_function("copy", torch.Tensor.copy_)
        index_of = {(entry.namespace, entry.name): index for index, entry in enumerate(self.program.state)}
        copies, written = [], set()
        for output in self.program.state_outputs:
            place = index_of[output.namespace, output.name]
            name = self.names[output.value]
            if name == self.names[place] and self._find_memory(output.value) == place:
                continue
            if self._find_memory(output.value) < len(self.program.state):
                self.lines.append(f"w{place} = {clone}({name})")
                name = f"w{place}"
            copies.append(f"{copy}({self.names[place]}, {name})")
            written.add(place)
        kept = {number: f"r{number}" for number in self.program.results if self._find_memory(number) in written}
        self.lines += [f"{name} = {clone}({self.names[number]})" for number, name in kept.items()]
        self.lines.extend(copies)
        return kept

    def _find_memory(self, number: int) -> int:
        owner = self.memory.owner[number]
        while owner in self.lives_in:
            owner = self.lives_in[owner]
        return owner


class Executor:
    """A program bound to the tensors of a state, which it updates in place.

    Args:
        program: a step whose state outputs are all among its state inputs, or an inference.
        state: one contiguous tensor per `program.state`; the program's home from now on.
        batch: tensors of the types of `program.batch`, used once to find strides.
        observer: sees values of each step while they are computed.
    """

    def __init__(
        self,
        program: ir.Program,
        state: Sequence[torch.Tensor],
        batch: Sequence[torch.Tensor],
        observer: Observer | None = None,
    ) -> None:
        self.program = program
        strides = measure_strides(program, state, batch)
        with torch.inference_mode(False):
            self._step = _Source(program, state, strides, observer).build()

    def run(
        self, batch: Sequence[torch.Tensor], row: Sequence[float], key: tuple[int, int]
    ) -> tuple[torch.Tensor, ...]:
        """Carry out one step and return its results.

        Args:
            batch: contiguous tensors of the types of `program.batch`.
            row: the scalars as Python floats, length `program.scalars`.
            key: Philox key of the step.
        """
        draws.set_key(key)
        with torch.inference_mode():
            results = self._step(batch, row)
        return tuple(result.clone() for result in results)
