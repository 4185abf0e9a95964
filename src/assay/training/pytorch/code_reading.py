"""Reading code objects and classes.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any


def iterate_code(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those inside it (lambdas, inner functions, comprehensions)."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from iterate_code(constant)


def get_slots(kind: type) -> list[str]:
    """Return the names of the slots that a class itself defines."""
    slots = kind.__dict__.get("__slots__", ())
    return [name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__")]


def unwrap(value: Any) -> FunctionType | None:
    """Return the function behind an entry of a class (method, property, static method), or None."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    return value if isinstance(value, FunctionType) else None


def get_chain(instructions: list[dis.Instruction], place: int) -> list[str]:
    """Return the attributes that are read right after the name at `place`, as in `a.b.c`."""
    chain = []
    for instruction in instructions[place + 1 :]:
        if instruction.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        chain.append(instruction.argval)
    return chain


def find_modules(name: str, space: Mapping[str, Any]) -> list[ModuleType]:
    """Return the loaded modules that `import name` in code with these globals may mean, also a relative one."""
    package = str(space.get("__package__") or "").split(".")
    parents = [".".join(package[:count]) for count in range(len(package), 0, -1)]
    names = [name, name.partition(".")[0], *(f"{parent}.{name}".strip(".") for parent in parents if parent)]
    found = [sys.modules.get(candidate) for candidate in dict.fromkeys(names)]
    return [module for module in found if isinstance(module, ModuleType)]


def get_names(code: CodeType) -> frozenset[str]:
    """Return the names of globals and attributes in a code object and those inside it."""
    return frozenset(name for inner in iterate_code(code) for name in inner.co_names)


def find_line(codes: Iterable[CodeType], names: Sequence[str]) -> str | None:
    """Return `file:line` of the instruction that most likely changes something, or None.

    Args:
        codes: where to look.
        names: of the thing, the most telling first; a line that stores under a name comes before lines that read it.
    """
    lines: dict[tuple[str, bool], str] = {}
    for code in codes:
        line = code.co_firstlineno
        for instruction in dis.get_instructions(code):
            line = (instruction.positions.lineno if instruction.positions else None) or line
            if instruction.argval in names:
                is_store = instruction.opname.startswith(("STORE_", "DELETE_"))
                lines.setdefault((instruction.argval, is_store), f"{code.co_filename}:{line}")
    wanted = [*((name, True) for name in names), *((name, False) for name in names)]
    return next((lines[one] for one in wanted if one in lines), None)
