"""How two step programs differ, in the words of people: dropout, augmentation, another layer, another loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from assay.protocol.evidence import program as ir
from assay.training.compare.roles import DECAY, find_roles
from assay.training.program_difference import describe_difference

_MOST = 6


@dataclass(frozen=True)
class ProgramDifference:
    """What a program is called that differs, and lines that say how."""

    name: str
    text: str
    details: tuple[str, ...]


def compare_programs(a: ir.Program, b: ir.Program) -> ProgramDifference:
    """Return how two programs differ: the name of the likeliest change first.

    A draw that only one program has, and that reaches the batch before any parameter does, is augmentation; any other
    draw is dropout or noise.
    """
    first = describe_difference(a, b)
    only_a, only_b = _count(a), _count(b)
    missing, added = only_a - only_b, only_b - only_a
    details = [f"first difference: {first} (B instead of A)"]
    details += [f"only in A: {name} x{count}" for name, count in list(missing.items())[:_MOST]]
    details += [f"only in B: {name} x{count}" for name, count in list(added.items())[:_MOST]]
    name, text = _name_change(a, b, missing, added)
    return ProgramDifference(name, text or f"the step programs differ: {first}", tuple(details))


def _count(program: ir.Program) -> Counter[str]:
    return Counter(node.operator.removesuffix(".default") for node in program.nodes)


def _name_change(a: ir.Program, b: ir.Program, missing: Counter[str], added: Counter[str]) -> tuple[str, str]:
    state_a, state_b = ([(entry.name, entry.type) for entry in program.state] for program in (a, b))
    if a.batch != b.batch:
        return "batch shape", f"the step takes another batch: {_show_types(a.batch)} in A, {_show_types(b.batch)} in B"
    if state_a != state_b:
        names_a, names_b = dict(state_a), dict(state_b)
        differing = [name for name in [*names_a, *names_b] if names_a.get(name) != names_b.get(name)]
        return "state", f"the step reads another state: {differing[0]} and {len(set(differing)) - 1} more differ"
    draws = _compare_draws(a, b)
    if draws:
        return draws
    decay_a, decay_b = (DECAY in find_roles(program) for program in (a, b))
    if decay_a != decay_b:
        return "weight decay", f"weight decay is used in {'A' if decay_a else 'B'} alone"
    reaching_a, reaching_b = _list_before_parameters(a), _list_before_parameters(b)
    if reaching_a != reaching_b:
        return "augmentation", "the batch is treated otherwise before it meets a parameter"
    if not missing and not added:
        return "attribute", ""
    return "operators", ""


def _show_types(types: tuple[ir.TensorType, ...]) -> str:
    return ", ".join(f"{kind.dtype} {list(kind.shape)}" for kind in types)


def _compare_draws(a: ir.Program, b: ir.Program) -> tuple[str, str] | None:
    """Return name and sentence if the programs draw other random numbers."""
    draws_a, draws_b = _list_draws(a), _list_draws(b)
    if draws_a == draws_b:
        return None
    early_a = [draw for draw in draws_a if draw[0]]
    early_b = [draw for draw in draws_b if draw[0]]
    if early_a != early_b:
        return "augmentation", (
            f"the batch is augmented otherwise: {len(early_a)} random draws before the first parameter in A, "
            f"{len(early_b)} in B"
        )
    if len(draws_a) != len(draws_b):
        side, none = ("B", not draws_b) if len(draws_b) < len(draws_a) else ("A", not draws_a)
        how = "draws no random numbers" if none else "draws fewer random numbers"
        return "dropout", f"dropout or noise: {side} {how} ({len(draws_a)} draws in A, {len(draws_b)} in B)"
    place = next(index for index, pair in enumerate(zip(draws_a, draws_b, strict=True)) if pair[0] != pair[1])
    return "dropout", f"draw {place} is another one: {draws_a[place][1]} in A, {draws_b[place][1]} in B"


def _list_draws(program: ir.Program) -> list[tuple[bool, str]]:
    """Return each random node: whether it is used before any parameter is, and what it draws."""
    nodes = list(_iterate_reached(program))
    found = []
    for index, (node, made, _) in enumerate(nodes):
        if node.operator.startswith("assay."):
            following = _follow(nodes[index + 1 :], set(made))
            found.append((following, f"{node.operator.removesuffix('.default')}{_show_numbers(node)}"))
    return found


def _show_numbers(node: ir.Node) -> str:
    shown = [
        str([item.value for item in argument.items if isinstance(item, ir.Integer)])
        if isinstance(argument, ir.Sequence)
        else str(argument.value)
        for argument in node.arguments
        if isinstance(argument, ir.Sequence | ir.Integer)
    ]
    return f"({', '.join(shown)})"


def _follow(nodes: list[tuple[ir.Node, range, bool]], values: set[int]) -> bool:
    """Return whether these values first meet something that comes from no parameter."""
    for node, made, from_parameters in nodes:
        reads = set(_read(node))
        if not reads & values:
            continue
        if reads - values:
            return not from_parameters
        values |= set(made)
    return True


def _iterate_reached(program: ir.Program) -> Iterator[tuple[ir.Node, range, bool]]:
    """Yield each node, the values that it makes, and whether it depends on a tensor of the state."""
    reached = set(range(len(program.state)))
    first = len(program.state) + len(program.batch) + len(program.constants)
    for node in program.nodes:
        made = range(first, first + len(node.outputs))
        first += len(node.outputs)
        depends = not reached.isdisjoint(_read(node))
        if depends:
            reached.update(made)
        yield node, made, depends


def _list_before_parameters(program: ir.Program) -> list[str]:
    """Return the operators that work on the batch alone and come before the first that reads a parameter."""
    found = []
    for node, _, depends in _iterate_reached(program):
        if depends and node.operator not in {"aten.permute.default", "aten.view.default"}:
            break
        if not depends:
            found.append(node.operator)
    return found


def _read(node: ir.Node) -> Iterator[int]:
    for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
        for item in argument.items if isinstance(argument, ir.Sequence) else (argument,):
            if isinstance(item, ir.Value):
                yield item.index
