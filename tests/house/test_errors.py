"""Every error of the package is documented, and its code is its own."""

from collections import Counter

import pytest

from tools.reference import PAGES, get_error_classes, render_errors

ERRORS = get_error_classes()


def test_codes_are_unique():
    """No two classes share a code, so a program can branch on it."""
    counts = Counter(kind.code for kind in ERRORS)
    assert {code for code, count in counts.items() if count > 1} == set()


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__qualname__)
def test_class_states_its_code_and_meaning(kind):
    """Each class defines its own dotted code and says in its docstring what it means."""
    assert kind.__dict__.get("code"), "define `code` in the class itself"
    assert all(part.replace("-", "").replace("_", "").isalnum() for part in kind.code.split("."))
    assert kind.code == kind.code.lower()
    assert kind.__dict__.get("__doc__"), "say in one sentence what was refused"


def test_page_of_errors_is_fresh():
    """docs/reference/errors.md lists exactly these classes."""
    page = PAGES / "errors.md"
    written = page.read_text(encoding="utf-8") if page.exists() else ""
    assert written == render_errors(), "stale; run: python -m tools.reference"
