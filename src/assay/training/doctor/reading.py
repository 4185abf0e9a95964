"""Reads a training script as text: what it imports, calls and defines. Nothing of it is run.

Names are resolved through the script's imports, so that `np.random.rand`, `numpy.random.rand` and `from numpy.random
import rand` are one name, `numpy.random.rand`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from assay.errors import UsageError

MAX_SCRIPT_BYTES: Final = 4 * 1024 * 1024


class ScriptRefused(UsageError):
    """A file that is no Python script that can be read."""

    code: ClassVar[str] = "doctor.script"


@dataclass(frozen=True)
class Call:
    """A call in the script.

    Attributes:
        name: resolved, such as "torch.manual_seed"; of a method, its last part with a dot, such as ".item".
        node: the call.
        function: the innermost function around it, or None.
        kind: what that function is: "forward", "getitem", "step" (decorated by a run's `step`), "other", or "".
    """

    name: str
    node: ast.Call
    function: ast.FunctionDef | ast.AsyncFunctionDef | None
    kind: str

    @property
    def line(self) -> int:
        """Its line."""
        return self.node.lineno

    def get_keyword(self, name: str) -> ast.expr | None:
        """Return the value of a keyword argument, or None."""
        return next((keyword.value for keyword in self.node.keywords if keyword.arg == name), None)

    def has_true(self, name: str) -> bool:
        """Return whether a keyword argument is the constant True."""
        value = self.get_keyword(name)
        return isinstance(value, ast.Constant) and value.value is True


@dataclass
class Script:
    """A script that was read.

    Attributes:
        path: as it was given.
        tree: its syntax tree.
        names: what each local name stands for, by the imports.
        calls: all calls, in the order of their lines.
        parents: of every node.
    """

    path: str
    tree: ast.Module
    names: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def find(self, *names: str) -> list[Call]:
        """Return the calls of these names; a name that ends in a dot stands for all below it."""
        return [call for call in self.calls if any(_matches(call.name, name) for name in names)]

    def resolve(self, node: ast.AST) -> str:
        """Return the dotted name of an expression through the imports, or "" if it is none."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            return f"{base}.{node.attr}" if base else f".{node.attr}"
        return ""

    @property
    def uses_assay(self) -> bool:
        """Whether the script imports Assay."""
        return any(name.partition(".")[0] == "assay" for name in self.names.values())

    def iterate_above(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the nodes around a node, from the inside."""
        current = self.parents.get(node)
        while current is not None:
            yield current
            current = self.parents.get(current)


def _matches(name: str, wanted: str) -> bool:
    if wanted.startswith("."):
        return name.endswith(wanted)
    return name.startswith(wanted) if wanted.endswith(".") else name == wanted


def read_script(path: Path) -> Script:
    """Read a script.

    Raises:
        ScriptRefused: there is none, it is too long, or no Python.
    """
    try:
        if path.stat().st_size > MAX_SCRIPT_BYTES:
            raise ScriptRefused(f"{path} is too long for a script", expected=f"at most {MAX_SCRIPT_BYTES} bytes")
        text = path.read_bytes()
    except OSError as error:
        raise ScriptRefused(f"{path} cannot be read", actual=error.strerror, next_step="check the path") from None
    try:
        tree = ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ScriptRefused(f"{path} is no Python that can be read", actual=str(error)) from None
    script = Script(str(path), tree)
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            script.parents[child] = parent
    for node in ast.walk(tree):
        _note_import(script, node)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    script.calls = [_make_call(script, node) for node in sorted(found, key=lambda node: (node.lineno, node.col_offset))]
    return script


def _note_import(script: Script, node: ast.AST) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            script.names[alias.asname or name] = name
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            script.names[alias.asname or alias.name] = f"{node.module}.{alias.name}"


def _make_call(script: Script, node: ast.Call) -> Call:
    name = script.resolve(node.func)
    if not name and isinstance(node.func, ast.Attribute):
        name = f".{node.func.attr}"
    around = [
        above for above in script.iterate_above(node) if isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    kinds = [_find_kind(function) for function in around]
    kind = next((kind for kind in kinds if kind != "other"), "other" if kinds else "")
    return Call(name, node, around[0] if around else None, kind)


def _find_kind(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if function.name == "forward":
        return "forward"
    if function.name == "__getitem__" or "collate" in function.name or "transform" in function.name:
        return "getitem"
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(target, ast.Attribute) and target.attr == "step":
            return "step"
    return "other"
