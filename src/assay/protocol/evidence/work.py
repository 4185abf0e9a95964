"""Which values of a step prove that somebody computed it: gradients and activations that no record of the run holds.

Whoever recomputes an interval hashes some values that exist only while computing, under a key of their own
(`votes.compute_work_key`). Two
verifiers of one interval hash the same values and get different digests, so that neither a leaked transcript nor the
digest of another saves the work.

Source: `spec/work-digest.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from assay.protocol import tags
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import PARAM
from assay.protocol.hashing import tag_bytes

GRADIENTS: Final = 8
"""Most values of a step that are chosen by the parameters that they change (WRK-2)."""

ACTIVATIONS: Final = 8
"""Most further values of a step (WRK-3)."""

_REALS: Final = ("bf16", "f16", "f32", "f64")


def choose_values(program: ir.Program) -> tuple[int, ...]:
    """Return the numbers of the values of a step that are hashed, ascending (WRK-2, WRK-3).

    A function of the program alone. Takes time linear in its nodes.
    """
    if program.kind != ir.STEP:
        return ()
    graph = _Graph(program)
    excluded = {*program.results, *(output.value for output in program.state_outputs)}
    gradients = graph.find_gradients(excluded)
    others = sorted(
        (graph.rank(number), number) for number in graph.eligible if number not in excluded and number not in gradients
    )
    return tuple(sorted({*gradients, *(number for _, number in others[:ACTIVATIONS])}))


class _Graph:
    """What follows from the nodes of a program: who makes a value, which values depend on the batch."""

    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self.identity = ir.compute_program_id(program)
        self.types = ir.get_values(program)
        self.reads = [tuple(_iterate_read(node)) for node in program.nodes]
        self.maker: dict[int, int] = {}
        states = len(program.state)
        reached = set(range(states, states + len(program.batch)))
        read: set[int] = set()
        number = states + len(program.batch) + len(program.constants)
        for index, node in enumerate(program.nodes):
            from_batch = not reached.isdisjoint(self.reads[index])
            read.update(self.reads[index])
            for _ in node.outputs:
                self.maker[number] = index
                if from_batch:
                    reached.add(number)
                number += 1
        self.eligible = sorted(n for n in self.maker if n in reached and n in read and self._is_real(n))

    def _is_real(self, number: int) -> bool:
        kind = self.types[number]
        return kind is not None and kind.dtype in _REALS

    def rank(self, number: int) -> bytes:
        """Return what activations are sorted by: nobody can make a value that is cheap come first."""
        return sha256(tag_bytes(tags.WORK_VALUES) + self.identity + number.to_bytes(8, "little")).digest()

    def find_gradients(self, excluded: set[int]) -> set[int]:
        """Return the first value on the way to each chosen parameter's new one that has its type."""
        changed = sorted(
            (self.rank(output.value), output.value)
            for output in self.program.state_outputs
            if output.namespace == PARAM and output.value in self.maker
        )
        found = set()
        for _, value in changed[:GRADIENTS]:
            way = self._collect_ancestors(value)
            kind = self.types[value]
            number = next((n for n in self.eligible if n in way and n not in excluded and self.types[n] == kind), None)
            if number is not None:
                found.add(number)
        return found

    def _collect_ancestors(self, value: int) -> set[int]:
        seen, pending = {value}, [value]
        while pending:
            index = self.maker.get(pending.pop())
            for number in self.reads[index] if index is not None else ():
                if number not in seen:
                    seen.add(number)
                    pending.append(number)
        return seen


def _iterate_read(node: ir.Node) -> Sequence[int]:
    arguments = (*node.arguments, *(keyword.value for keyword in node.keywords))
    return [
        item.index
        for argument in arguments
        for item in (argument.items if isinstance(argument, ir.Sequence) else (argument,))
        if isinstance(item, ir.Value)
    ]
