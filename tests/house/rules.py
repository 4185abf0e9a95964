"""The house rules as code: each function takes a parsed file and returns what breaks the rule, one line per offence."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "assay"

MAX_FILE_LINES = 600
MAX_BODY_LINES = 40

BANNED_WORDS = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}

PURE_IMPORTS = {
    "__future__", "abc", "assay", "bisect", "blake3", "collections", "dataclasses", "enum", "fractions", "functools",
    "hashlib", "itertools", "msgspec", "nacl", "operator", "re", "string", "struct", "types", "typing",
}  # fmt: skip
"""What `protocol` may import: nothing that reads a clock, a file, the network, the environment or chance."""

PURE_NAMES = {"math.comb", "math.gcd", "math.isqrt", "math.lcm", "math.perm", "math.prod", "threading.Lock"}
"""The part of `math` that maps integers to integers; and what lets threads build decoders one after the other."""

IMPURE_CALLS = {"breakpoint", "eval", "exec", "float", "globals", "hash", "id", "input", "open", "print", "__import__"}
"""`hash` and `id` differ from process to process."""

FLOAT_BIT_FUNCTIONS = {"float_to_bits", "bits_to_float"}
"""The only functions of `protocol` that may touch a float: they move its bits."""

UNSAFE_IMPORTS = {"cloudpickle", "dill", "joblib", "marshal", "multiprocessing", "pickle", "shelve"}
"""`multiprocessing` unpickles whatever a worker sends."""

UNSAFE_ATTRIBUTES = {("torch", "load"), ("torch", "save"), ("futures", "ProcessPoolExecutor")}
UNSAFE_CALLS = {"__import__", "compile", "eval", "exec"}


def get_files(folder: Path = SOURCE) -> list[Path]:
    """Return the Python files of a folder in a fixed order."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def get_name(path: Path) -> str:
    """Return the path as printed: relative to the root of the project."""
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def get_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and full name of every absolute import, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value


def find_imports(tree: ast.AST, banned: set[str]) -> list[str]:
    """Return the imports whose first name is banned."""
    return [f"{line}: imports {name}" for line, name in get_imports(tree) if name.split(".")[0] in banned]


def find_impurity(tree: ast.AST) -> list[str]:
    """Return what has no place in `protocol`: float arithmetic, foreign imports, I/O, order of a set."""
    bit_nodes = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in FLOAT_BIT_FUNCTIONS
        for inner in ast.walk(node)
    }
    found = [
        f"{line}: imports {name}"
        for line, name in get_imports(tree)
        if name.split(".")[0] not in PURE_IMPORTS and name not in PURE_NAMES
    ]
    for node in ast.walk(tree):
        if node in bit_nodes:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            found.append(f"{node.lineno}: float literal {node.value}")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append(f"{node.lineno}: true division")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            found.append(f"{node.lineno}: calls {node.func.id}()")
    return found + find_set_iteration(tree)


def find_set_iteration(tree: ast.AST) -> list[str]:
    """Return the places where the order of a set becomes visible; `sorted(...)` around it is fine."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {inner for function in functions for inner in ast.walk(function)}
    outside = [node for node in ast.walk(tree) if node not in inside]
    names = _get_set_names(outside)
    found = _find_shown_sets(outside, names)
    for function in functions:
        nodes = list(ast.walk(function))
        rebound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        rebound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        found += _find_shown_sets(nodes, (names - rebound) | _get_set_names(nodes))
    return found


def _get_set_names(nodes: list[ast.AST]) -> set[str]:
    return {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and _is_set(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _find_shown_sets(nodes: list[ast.AST], names: set[str]) -> list[str]:
    found = []
    for node in nodes:
        if isinstance(node, ast.For | ast.comprehension) and _is_set(node.iter, names):
            found.append(f"{node.iter.lineno}: iterates over a set")
        elif isinstance(node, ast.Call) and any(_is_set(argument, names) for argument in node.args):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in {"enumerate", "iter", "join", "list", "map", "tuple", "zip"}:
                found.append(f"{node.lineno}: {called}() of a set")
    return found


def _is_set(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"set", "frozenset"}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
        return _is_set(node.left, names) or _is_set(node.right, names)
    return isinstance(node, ast.Name) and node.id in names


def find_unsafe(tree: ast.AST, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Return uses of pickle in any dress and of code made from text; `allowed` names calls that are excused."""
    found = find_imports(tree, UNSAFE_IMPORTS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).split(".")[-1]
            if (owner, node.attr) in UNSAFE_ATTRIBUTES:
                found.append(f"{node.lineno}: uses {owner}.{node.attr}")
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            if called in UNSAFE_CALLS - allowed:
                found.append(f"{node.lineno}: calls {called}()")
            if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords):
                found.append(f"{node.lineno}: allows pickle")
    return found


def find_decoders(tree: ast.AST) -> list[str]:
    """Return decoders of msgspec that are built on the spot: two threads that do so can crash the process."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("msgspec.json.", "msgspec.msgpack.")):
            called = ast.unparse(node.func).split(".")[-1]
            if called == "Decoder" or (called == "decode" and any(k.arg == "type" for k in node.keywords)):
                found.append(f"{node.lineno}: builds a decoder")
    return found


def find_long_bodies(tree: ast.AST, limit: int = MAX_BODY_LINES) -> list[str]:
    """Return functions whose body, without its docstring, is longer than a screen."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > limit:
                found.append(f"{node.lineno}: {node.name} has {lines} lines")
    return found


def split_words(name: str) -> set[str]:
    """Return the words of a name in snake_case or CamelCase."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def find_banned_names(tree: ast.AST, stem: str) -> list[str]:
    """Return names of modules, classes and functions that say nothing."""
    named = [
        (node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [f"{line}: {name}" for line, name in [(1, stem), *named] if split_words(name) & BANNED_WORDS]


def find_skips(tree: ast.AST) -> list[str]:
    """Return the tests that are skipped or expected to fail."""
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"importorskip", "skip", "skipif", "xfail"}
        and ast.unparse(node.value) in {"pytest", "pytest.mark"}
    ]
