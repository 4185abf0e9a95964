"""Every source file obeys the house rules."""

import ast

import pytest

from tests.house import rules

CODE_FROM_CHECKED_PROGRAMS = {"src/assay/training/pytorch/executor.py": frozenset({"compile", "exec"})}
"""The executor compiles straight-line code that it generated itself from a checked program."""


def collect(find, files):
    """Return the offences of all files, each with its file."""
    return [f"{rules.get_name(path)}:{line}" for path in files for line in find(path)]


def test_protocol_is_pure():
    """Nothing in protocol computes with floats, reads the world or shows the order of a set."""
    files = rules.get_files(rules.SOURCE / "protocol")
    assert files
    assert collect(lambda path: rules.find_impurity(rules.parse(path)), files) == []


def test_certificate_opens_nothing():
    """The certificate package works on byte streams handed to it: no files, processes, network or clock."""
    banned = {
        "datetime",
        "fsspec",
        "io",
        "os",
        "pathlib",
        "random",
        "shutil",
        "socket",
        "subprocess",
        "tempfile",
        "time",
    }
    files = rules.get_files(rules.SOURCE / "certificate")
    assert files
    offences = collect(lambda path: rules.find_imports(rules.parse(path), banned), files)
    for path in files:
        for node in ast.walk(rules.parse(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
                offences.append(f"{rules.get_name(path)}:{node.lineno}: calls open()")
    assert offences == []


def test_torch_is_imported_in_one_place():
    """Only training/pytorch, and the training scripts of the demonstration, import torch."""
    inside = {rules.SOURCE / "training" / "pytorch", rules.SOURCE / "demonstration"}
    files = [path for path in rules.get_files() if not inside & set(path.parents)]
    assert collect(lambda path: rules.find_imports(rules.parse(path), {"torch", "torchvision"}), files) == []


def test_files_fit_six_hundred_lines():
    """A file is one idea: none is longer than 600 lines."""
    files = [path for name in ("src", "tests", "tools", "benchmarks") for path in rules.get_files(rules.ROOT / name)]
    lengths = {rules.get_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > rules.MAX_FILE_LINES} == {}


def test_functions_fit_forty_lines():
    """A function body without its docstring has at most 40 lines."""
    assert collect(lambda path: rules.find_long_bodies(rules.parse(path)), rules.get_files()) == []


def test_names_say_something():
    """No module, class or function is called utils, common, misc, manager or helper."""
    assert collect(lambda path: rules.find_banned_names(rules.parse(path), path.stem), rules.get_files()) == []


def test_nothing_unpickles_or_runs_text():
    """No pickle, no torch.load, no eval or exec, except code generated from a checked program."""

    def find(path):
        return rules.find_unsafe(rules.parse(path), CODE_FROM_CHECKED_PROGRAMS.get(rules.get_name(path), frozenset()))

    assert collect(find, rules.get_files()) == []


def test_decoders_are_built_in_one_place():
    """Only `protocol/decoders.py` builds decoders, under its lock."""
    files = [path for path in rules.get_files() if path.name != "decoders.py"]
    assert collect(lambda path: rules.find_decoders(rules.parse(path)), files) == []


def test_no_test_is_skipped():
    """A test runs or does not exist."""
    assert collect(lambda path: rules.find_skips(rules.parse(path)), rules.get_files(rules.ROOT / "tests")) == []


PLANTED = {
    "a float literal": (rules.find_impurity, "x = 0.5"),
    "a true division": (rules.find_impurity, "x = 4 / 2"),
    "a division in place": (rules.find_impurity, "x /= 2"),
    "a conversion to float": (rules.find_impurity, "x = float(3)"),
    "the real part of math": (rules.find_impurity, "from math import sqrt"),
    "a clock": (rules.find_impurity, "def f():\n    import time"),
    "the environment": (rules.find_impurity, "from os import environ"),
    "a file": (rules.find_impurity, "open('x')"),
    "a hash that differs per process": (rules.find_impurity, "hash('x')"),
    "iteration over a set": (rules.find_impurity, "for x in {1, 2}: f(x)"),
    "iteration over a named set": (rules.find_impurity, "s = set(y)\nz = [x for x in s]"),
    "iteration over a set of the module": (rules.find_impurity, "S = {1}\ndef f():\n    for x in S: g(x)"),
    "a list of a set": (rules.find_impurity, "z = list(set(y) | w)"),
    "a dynamic import": (lambda tree: rules.find_imports(tree, {"torch"}), "importlib.import_module('torch.nn')"),
    "pickle": (rules.find_unsafe, "from pickle import loads"),
    "torch.load": (rules.find_unsafe, "torch.load(path)"),
    "arrays of objects": (rules.find_unsafe, "np.load(path, allow_pickle=True)"),
    "exec": (rules.find_unsafe, "exec(text)"),
    "a decoder": (rules.find_decoders, "msgspec.msgpack.Decoder(kind)"),
    "a decoder for one use": (rules.find_decoders, "msgspec.json.decode(data, type=Kind)"),
    "a long body": (
        lambda tree: rules.find_long_bodies(tree, 2),
        "def f():\n    'doc'\n    a = 1\n    b = 2\n    c = 3",
    ),
    "an empty name": (lambda tree: rules.find_banned_names(tree, "x"), "class ShapeHelper: pass"),
    "an empty file name": (lambda tree: rules.find_banned_names(tree, "io_utils"), ""),
    "a skipped test": (rules.find_skips, "@pytest.mark.skipif(True)\ndef test(): pass"),
}

HARMLESS = {
    "whole division": (rules.find_impurity, "x = 7 // 2"),
    "a product of integers": (rules.find_impurity, "from math import prod"),
    "a sorted set": (rules.find_impurity, "z = [x for x in sorted(set(y))]"),
    "a name that is a set elsewhere": (rules.find_impurity, "def f():\n    s = {1}\ndef g(s):\n    for x in s: h(x)"),
    "membership": (rules.find_impurity, "z = [x for x in y if x in {1, 2}]"),
    "bits of a float": (rules.find_impurity, "def float_to_bits(v):\n    return float(v) / 1.0"),
    "JSON without a class": (rules.find_decoders, "msgspec.json.decode(data)"),
    "a compiled pattern": (rules.find_unsafe, "re.compile('x')"),
    "evaluation mode": (rules.find_unsafe, "net.eval()"),
    "a docstring": (lambda tree: rules.find_long_bodies(tree, 1), "def f():\n    '''a\n    b\n    '''\n    return 1"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted_offence_is_found(case):
    """Each rule sees an offence planted for it."""
    find, source = PLANTED[case]
    assert find(ast.parse(source)) != []


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_code_passes(case):
    """No rule complains about code that only looks alike."""
    find, source = HARMLESS[case]
    assert find(ast.parse(source)) == []
