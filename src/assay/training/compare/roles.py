"""What the numbers of a scalars row do in a step program: rates, decay, averages.

A row is a list of numbers without names, so the role of each is read from the operators that take it; the names that
the user gave are in the settings that checkpoints keep, and are declared only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import PARAM, SLOT

RATE, DECAY, AVERAGE, SMALL, OTHER = "rate", "weight decay", "momentum", "epsilon", "scalar"

_IMPORTANCE: Final = {RATE: 0, DECAY: 1, AVERAGE: 2, SMALL: 3, OTHER: 4}


def find_roles(program: ir.Program) -> list[str]:
    """Return the role of each scalar of a program, by index in the row.

    A number that scales an update which is added to a parameter is a rate; one that multiplies a parameter itself, or
    adds it to its gradient, is weight decay; one that multiplies or mixes an optimizer slot is momentum (an average's
    factor or a bias correction); one that is added to a square root is an epsilon. Fused updates name their numbers.
    """
    roles = [OTHER] * program.scalars
    values: dict[int, str] = {}
    for number, entry in enumerate(program.state):
        values[number] = {PARAM: "param", SLOT: "slot"}.get(entry.namespace, "")
    outputs = {output.value: output.namespace for output in program.state_outputs}
    first = len(program.state) + len(program.batch) + len(program.constants)
    for node in program.nodes:
        made = range(first, first + len(node.outputs))
        first += len(node.outputs)
        reads = [values.get(item.index, "") for item in _iterate_values(node)]
        namespace = next((outputs[value] for value in made if value in outputs), None)
        role = _find_role(node, reads, namespace)
        named = _name_scalars(node)
        for place, scalar in enumerate(_iterate_scalars(node)):
            found = named.get(scalar) or (SMALL if role == SMALL and place > 0 else role)
            if _IMPORTANCE[found] < _IMPORTANCE[roles[scalar]]:
                roles[scalar] = found
        if "slot" in reads and namespace != PARAM and made:
            values[made.start] = "slot"
        if "sqrt" in node.operator:
            values[made.start] = "root"
    return roles


_FUSED: Final = {
    "lr": RATE, "lr_decay": RATE, "weight_decay": DECAY, "eps": SMALL, "step": OTHER,
    "momentum": AVERAGE, "dampening": AVERAGE, "beta1": AVERAGE, "beta2": AVERAGE,
}  # fmt: skip


def _name_scalars(node: ir.Node) -> dict[int, str]:
    """Return the roles of the scalars that a fused update takes by name."""
    if not node.operator.startswith("assay.fused_"):
        return {}
    return {each.value.index: _FUSED[each.name] for each in node.keywords if isinstance(each.value, ir.Scalar)}


def _find_role(node: ir.Node, reads: list[str], namespace: int | None) -> str:
    name = node.operator.split(".")[1]
    if namespace == PARAM and "param" in reads and name in {"add", "addcdiv", "sub", "addcmul"}:
        return RATE
    if name in {"mul", "add"} and "param" in reads:
        return DECAY
    if name == "add" and "root" in reads:
        return SMALL
    if "slot" in reads or namespace == SLOT or name in {"lerp", "addcmul"}:
        return AVERAGE
    if "slot" in reads or "root" in reads:
        return AVERAGE
    return OTHER


def _iterate_values(node: ir.Node) -> Iterator[ir.Value]:
    for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
        for item in argument.items if isinstance(argument, ir.Sequence) else (argument,):
            if isinstance(item, ir.Value):
                yield item


def _iterate_scalars(node: ir.Node) -> Iterator[int]:
    for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
        for item in argument.items if isinstance(argument, ir.Sequence) else (argument,):
            if isinstance(item, ir.Scalar):
                yield item.index


Settings = dict[str, str]
"""Name such as `optimizer 0, group 0: weight_decay` to value, as text."""


def read_settings(extra: bytes) -> Settings:
    """Return the settings of parameter groups that a checkpoint keeps; nothing if they are in another form.

    They are the user's own declaration: names for people, no evidence.
    """
    try:
        stored = json.loads(extra)
    except (ValueError, RecursionError):
        return {}
    found: Settings = {}
    optimizers = _unwrap(_get(stored, "optimizers"))
    for number, groups in enumerate(_unwrap(_get(stored, "groups"))):
        kind = optimizers[number] if number < len(optimizers) else "optimizer"
        found[f"optimizer {number}: class"] = str(kind)
        for place, group in enumerate(_unwrap(groups)):
            for name, value in _pairs(group):
                found[f"optimizer {number}, group {place}: {name}"] = json.dumps(_plain(value))
    return found


def _pairs(value: object) -> list[tuple[str, object]]:
    items = value.get("dict") if isinstance(value, dict) else None
    pairs = items if isinstance(items, list) else []
    return [(str(pair[0]), pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def _get(value: object, name: str) -> object:
    return dict(_pairs(value)).get(name)


def _unwrap(value: object) -> list[object]:
    if isinstance(value, dict):
        items = value.get("list", value.get("tuple"))
        return items if isinstance(items, list) else []
    return []


def _plain(value: object) -> object:
    return [_plain(item) for item in _unwrap(value)] if isinstance(value, dict) else value
