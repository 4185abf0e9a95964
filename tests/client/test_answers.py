"""Node and client are blind to each other, so each writes down the forms of the door: here they are the same."""

from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from assay.client import answers
from assay.node.api import schemas

PAIRS = {
    answers.StatusAnswer: schemas.StatusView,
    answers.HeaderAnswer: schemas.SealedHeader,
    answers.HeadersAnswer: schemas.HeaderPage,
    answers.AcceptedAnswer: schemas.Accepted,
    answers.TransactionAnswer: schemas.TransactionView,
    answers.StateAnswer: schemas.StateView,
    answers.MissingAnswer: schemas.MissingView,
}


def describe(kind):
    """Return the names of a form's members with their types, and so on downwards, without the names of classes."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return [(field.name, describe(hints[field.name])) for field in fields(kind)]
    parts = [describe(part) for part in get_args(kind)]
    return (getattr(kind, "__origin__", type(kind)).__name__, parts) if parts else kind


@pytest.mark.parametrize("answer", PAIRS, ids=lambda kind: kind.__name__)
def test_both_sides_write_the_same_form(answer):
    """A member that only one side has, or has of another type, would be found by a user otherwise."""
    assert describe(answer) == describe(PAIRS[answer])
