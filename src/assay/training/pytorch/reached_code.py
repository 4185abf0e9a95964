"""What the code of a step reads: names, what is behind them, modules that it imports itself.

The names that reached code mentions are collected as it is read. What hangs on a name that no code has mentioned yet
waits until some code does.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import dis
from collections import defaultdict, deque
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

from assay.training.pytorch import code_reading, forbidden, scopes
from assay.training.pytorch.forbidden import Objection
from assay.training.pytorch.reached import Reachable, Where
from assay.training.pytorch.scopes import MISSING

ALL_SETTINGS = "values"
"""A name in code that reads the values of a group whatever their names."""

_READ_ANYTHING = frozenset({"getattr", "vars", "__dict__", "__getattribute__", "attrgetter", "methodcaller"})
_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "LOAD_DEREF", "STORE_DEREF"})


def is_rate(value: Any) -> bool:
    """True for numbers and tuples of numbers (rates, betas): they reach a step through the scalars row."""
    if isinstance(value, (tuple, list)):
        return all(map(is_rate, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Names:
    """The names that code mentions, and visits that wait for one of them.

    Attributes:
        known: the names.
        of_self: those that certain code reads of its first argument.
        work: visits that are due.
    """

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.of_self: set[str] = {"forward"}
        self.work: deque[Callable[[], None]] = deque()
        self._waiting: dict[str, list[Callable[[], None]]] = defaultdict(list)

    def read_anything(self) -> bool:
        """True if some code may read attributes of any name."""
        return not _READ_ANYTHING.isdisjoint(self.known)

    def wait(self, name: str, visit: Callable[[], None]) -> None:
        """Have `visit` done once code mentions `name`."""
        self._waiting[name].append(visit)

    def learn(self, name: str) -> None:
        """Note that code mentions `name`."""
        if name not in self.known:
            self.known.add(name)
            self.work += self._waiting.pop(name, ())
            if name in _READ_ANYTHING:
                self.work += [visit for visits in self._waiting.values() for visit in visits]
                self._waiting.clear()


class CodeReader:
    """Reads code that a step may run.

    Args:
        found: where everything is noted.
        names: the names that code mentions.
        visit: visits a value: (value, label, where, depth).
        refuse: refuses or notes what a step must not use: (label, where, objection, attribute).
    """

    def __init__(
        self,
        found: Reachable,
        names: Names,
        visit: Callable[[Any, str, Where, int], None],
        refuse: Callable[[str, Where, Objection, str | None], None],
    ) -> None:
        self.found = found
        self.names = names
        self._visit, self._refuse = visit, refuse
        self._globals: dict[int, tuple[dict[str, Any], set[str], str]] = {}
        self._settings: set[str] = set()  # texts in code that reads the settings of optimizers

    def read(self, code: CodeType, space: dict[str, Any], closure: dict[str, Any], certain: bool) -> None:  # noqa: FBT001
        """Follow the names that a code object reads."""
        self.found.code.append(code)
        read = self._globals.setdefault(id(space), (space, set(), code.co_filename))[1]
        first_local = code.co_varnames[0] if code.co_argcount else None
        instructions = list(dis.get_instructions(code))
        line = code.co_firstlineno
        for place, instruction in enumerate(instructions):
            line = (instruction.positions.lineno if instruction.positions else None) or line
            where = Where(code.co_filename, line, certain)
            chain = code_reading.get_chain(instructions, place)
            if instruction.opname == "LOAD_FAST" and instruction.argval == first_local and certain and chain:
                self.names.of_self.add(chain[0])
                self.names.learn(chain[0])
            if instruction.opname == "IMPORT_NAME":
                self._follow_import(instruction.argval, space, code, where)
            if instruction.opname not in _READS:
                continue
            name = instruction.argval
            if instruction.opname.endswith("GLOBAL") or instruction.opname == "LOAD_NAME":
                value = space.get(name, MISSING)
                read.add(name)
                if value is MISSING and name in ("print", "open", "input"):
                    self.found.notes.append(f"{where}: {name}() happens only while a step is recorded")
            else:
                value = closure.get(name, MISSING)
            self._follow(value, name, chain, where)
        for name in code.co_names:
            self.names.learn(name)
        if "param_groups" in code.co_names:
            self._settings |= {value for value in code.co_consts if isinstance(value, str)}
            self._settings |= {ALL_SETTINGS} & {*code.co_names}

    def guard_globals(self) -> None:
        """Guard the globals that code reads, and those that it would read if they were there."""
        for space, names, file in self._globals.values():
            present = sorted(name for name in names if name in space)
            if present:
                self.found.scopes.append(scopes.scope_of_keys(space, present, f"global {{}} ({file})"))
            absent = frozenset(names.difference(present))
            if absent:
                self.found.absent.append((space, absent, f"global {{}} ({file})"))

    def guard_settings(self) -> None:
        """Guard the rates that code reads by name: what it makes of them does not come from the scalars row."""
        for label, optimizer in self.found.optimizers:
            for index, group in enumerate(optimizer.param_groups):
                rates = [name for name, value in group.items() if name != "params" and is_rate(value)]
                read = [name for name in rates if name in self._settings or ALL_SETTINGS in self._settings]
                if read:
                    place = f"{label}.param_groups[{index}]"
                    self.found.scopes.append(scopes.scope_of_keys(group, read, place + "['{}']"))

    def _follow(self, value: Any, label: str, chain: list[str], where: Where) -> None:
        """Visit what a name, followed by attributes, stands for."""
        objection = forbidden.get_attribute_objection(value, chain[0]) if chain else None
        if objection is not None:
            self._refuse(label, where, objection, None)
        for name in chain:
            if not isinstance(value, ModuleType):
                break
            if value.__name__ == "builtins" or name not in vars(value):
                return
            if not forbidden.is_foreign(value.__name__):
                self.found.scopes.append(scopes.scope_of_keys(vars(value), [name], f"{label}.{{}}"))
            value, label = vars(value)[name], f"{label}.{name}"
        if value is not MISSING:
            self._visit(value, label, where, 0)

    def _follow_import(self, name: str, space: dict[str, Any], code: CodeType, where: Where) -> None:
        """Visit what code may read of a module that it imports itself: any of its names that the code mentions."""
        objection = forbidden.get_import_objection(name)
        waiting = code_reading.find_modules(name, space)
        is_new = not waiting and not forbidden.is_foreign(name) and not forbidden.is_installed(where.file)
        if objection is None and is_new:
            objection = f"imports {name} for the first time", "import it at the top of the script"
        if objection is not None:
            self._refuse(name, where, objection, None)
        mentioned, followed = code_reading.get_names(code), set()
        while waiting:
            module = waiting.pop()
            if forbidden.is_foreign(module.__name__) or module.__name__ in followed:
                continue
            followed.add(module.__name__)
            for attribute in sorted(mentioned & vars(module).keys()):
                self._follow(module, module.__name__, [attribute], where)
                value = vars(module)[attribute]
                waiting += [value] if isinstance(value, ModuleType) else []
