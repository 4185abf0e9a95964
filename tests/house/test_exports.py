"""The public surface of the package is one list, pinned here: a change to it is one diff to review."""

import json
import subprocess
import sys
import types

import pytest

import assay

LOADED = "import sys, json, assay; print(json.dumps(sorted(name.split('.')[0] for name in sys.modules)))"


def test_all_is_sorted_and_unique():
    """__all__ lists each name once, in order."""
    assert list(assay.__all__) == sorted(set(assay.__all__))


def test_each_public_name_loads():
    """Every name of __all__ can be reached and has a docstring."""
    for name in assay.__all__:
        value = getattr(assay, name)
        assert isinstance(value, str) or value.__doc__, name


def test_nothing_else_is_public():
    """What is importable from the package without an underscore is exactly __all__, submodules aside."""
    for name in assay.__all__:
        getattr(assay, name)
    visible = {
        name
        for name, value in vars(assay).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and name not in {"annotations", "TYPE_CHECKING"}
    }
    assert visible <= set(assay.__all__)
    assert set(assay.__all__) <= set(dir(assay))


def test_unknown_name_is_an_attribute_error():
    """A misspelt name is reported like that of any module."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = assay.no_such_name


def test_import_is_light():
    """`import assay` loads neither torch nor numpy nor the command line."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "typer", "rich", "sklearn"} & set(json.loads(done.stdout))
