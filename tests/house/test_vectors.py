"""`make vectors` would change nothing: each file of vectors is what its tool writes today."""

import importlib

import pytest

from tests.house import rules

TOOLS = sorted(path.stem for path in (rules.ROOT / "tools").glob("*_vectors.py"))


@pytest.mark.parametrize("name", TOOLS)
def test_vectors_are_fresh(name):
    """The file on disk equals what the tool renders."""
    tool = importlib.import_module(f"tools.{name}")
    assert tool.PATH.read_text(encoding="utf-8") == tool.render(), f"run: python -m tools.{name}"


def test_every_file_of_vectors_has_a_tool():
    """No file in vectors/ was written by hand."""
    written = {importlib.import_module(f"tools.{name}").PATH for name in TOOLS}
    assert set((rules.ROOT / "vectors").rglob("*.json")) == written
