"""The order in which an executor runs the nodes of a program, and which of them it runs as one call over a list.

Only the *tail* is reordered: the elementwise updates at the end of a step whose results go nowhere but into the state.
Updates of small tensors that do the same are grouped, level by level; those of large tensors stay together per tensor,
so that they stay in the processor's cache. Every rewrite keeps the bits of the naive interpreter (a conformance test).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from assay.protocol.evidence import program as ir
from assay.training.pytorch.bindings import get_list_function, is_view

SMALL = 1 << 15
"""Tensors of at most this many elements are updated in lists."""


def iterate_values(node: ir.Node) -> list[int]:
    """Return the numbers of the values that a node reads, in order."""
    found: list[int] = []
    for argument in [*node.arguments, *(keyword.value for keyword in node.keywords)]:
        for item in argument.items if isinstance(argument, ir.Sequence) else (argument,):
            found += [item.index] if isinstance(item, ir.Value) else []
    return found


def get_first_outputs(program: ir.Program) -> list[int]:
    """Return for each node the number of its first output."""
    following = len(program.state) + len(program.batch) + len(program.constants)
    first = []
    for node in program.nodes:
        first.append(following)
        following += len(node.outputs)
    return first


def find_tail(program: ir.Program) -> set[int]:
    """Return the nodes of list-able operators whose results end in the state by way of such nodes alone."""
    first = get_first_outputs(program)
    consumers: dict[int, list[int]] = defaultdict(list)
    for index, node in enumerate(program.nodes):
        for number in iterate_values(node):
            consumers[number].append(index)
    returned = set(program.results)
    tail: set[int] = set()
    for index in range(len(program.nodes) - 1, -1, -1):
        node = program.nodes[index]
        if get_list_function(node.operator, inplace=False) is None or first[index] in returned:
            continue
        if all(consumer in tail for consumer in consumers[first[index]]):
            tail.add(index)
    return tail


def compute_schedule(program: ir.Program) -> list[tuple[int, ...]]:
    """Return the nodes in the order of execution; a tuple of several is one call over lists."""
    tail = find_tail(program)
    depth, chains = _find_chains(program, sorted(tail))
    schedule: list[tuple[int, ...]] = [(index,) for index in range(len(program.nodes)) if index not in tail]
    small: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for members in chains:
        if all(_count(program.nodes[member]) <= SMALL for member in members):
            for index in members:
                small[(depth[index], *_get_signature(program.nodes[index]))].append(index)
        else:
            schedule.extend((index,) for index in members)
    schedule += [tuple(members) for _, members in sorted(small.items(), key=lambda item: (item[0][0], item[1][0]))]
    return schedule


def _find_chains(program: ir.Program, tail: list[int]) -> tuple[dict[int, int], list[list[int]]]:
    """Return the depth of each node of the tail, and the tail in groups that do not depend on each other."""
    first = get_first_outputs(program)
    producer = {first[index]: index for index in tail}
    depth: dict[int, int] = {}
    parent = {index: index for index in tail}

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index in tail:
        sources = [producer[number] for number in iterate_values(program.nodes[index]) if number in producer]
        depth[index] = 1 + max((depth[source] for source in sources), default=-1)
        for source in sources:
            parent[find(source)] = find(index)
    chains: dict[int, list[int]] = defaultdict(list)
    for index in tail:
        chains[find(index)].append(index)
    return depth, list(chains.values())


def _count(node: ir.Node) -> int:
    output = node.outputs[0]
    count = 1
    for extent in output.shape if output else ():
        count *= extent
    return count


def _get_signature(node: ir.Node) -> tuple[object, ...]:
    """Return what must be equal for two nodes to be one call: operator, kinds of arguments, numbers, element type."""

    def describe(argument: ir.Argument) -> object:
        return "tensor" if isinstance(argument, ir.Value) else argument

    output = node.outputs[0]
    return (
        node.operator,
        tuple(describe(argument) for argument in node.arguments),
        tuple((keyword.name, describe(keyword.value)) for keyword in node.keywords),
        output.dtype if output else None,
    )


@dataclass
class Memory:
    """Which value owns the memory of each value, and the last position in the schedule that reads it.

    Attributes:
        owner: by value; a view has the owner of what it shows.
        last: by owner, the last position that reads it through any value; `end` if it is returned or becomes state.
        last_direct: by value, the last position that names it.
    """

    program: ir.Program
    schedule: list[tuple[int, ...]]
    owner: list[int] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)
    last_direct: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = self.program
        self.end = len(self.schedule)
        self.owner = list(range(len(program.state) + len(program.batch) + len(program.constants)))
        for node in program.nodes:
            sources = iterate_values(node) if is_view(node.operator) else []
            for _ in node.outputs:
                self.owner.append(self.owner[sources[0]] if sources else len(self.owner))
        for position, members in enumerate(self.schedule):
            for index in members:
                for number in iterate_values(program.nodes[index]):
                    self._read(number, position)
        for number in [*program.results, *(output.value for output in program.state_outputs)]:
            self._read(number, self.end)
        changed = {(output.namespace, output.name) for output in program.state_outputs}
        for number, entry in enumerate(program.state):
            if (entry.namespace, entry.name) not in changed:  # what the step does not change must stay as it is
                self._read(number, self.end)

    def _read(self, number: int, position: int) -> None:
        self.last[self.owner[number]] = max(position, self.last.get(self.owner[number], -1))
        self.last_direct[number] = max(position, self.last_direct.get(number, -1))
