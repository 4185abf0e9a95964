"""The first step at which two runs differ, from their rows.

Equal leaf ids mean equal prefixes, so runs of one plan are searched by halves. Runs of different plans never have equal
leaf ids: their rows are looked through from the first on, bytes against bytes where the rows have one form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from assay.storage.step_search import decode_quickly, read_step
from assay.training.compare.side import Side, SideRow, is_unchanged

PARTS: Final = ("program", "membership", "content", "scalars", "loss", "state root", "events")
"""The parts of a step that can differ; the first four and the events go into it, loss and state root come out."""

INPUTS: Final = frozenset({"program", "membership", "content", "scalars"})


def compare_rows(a: SideRow, b: SideRow) -> tuple[str, ...]:
    """Return the parts in which two rows differ, in the order of `PARTS`.

    State roots are compared where both rows have one.
    """
    one, other = a.parts, b.parts
    found = {
        "program": a.program != b.program,
        "membership": one.membership != other.membership,
        "content": one.content != other.content,
        "scalars": a.scalars != b.scalars,
        "loss": (one.loss, one.loss_root) != (other.loss, other.loss_root),
        "state root": bool(one.state_root and other.state_root) and one.state_root != other.state_root,
        "events": one.events != other.events,
    }
    return tuple(part for part in PARTS if found[part])


def find_first_step(a: Side, b: Side, shift: int = 0) -> int | None:
    """Return the first step of B that differs from its step of A, or None.

    Args:
        a: one run.
        b: the other.
        shift: B's step 1 stands beside A's step 1 + shift.
    """
    count = min(a.steps - shift, b.steps)
    if shift == 0 and a.start_id == b.start_id:
        return _search_by_halves(a, b, count)
    return _look_through(a, b, shift, count)


def read_pair(a: Side, b: Side, step: int, shift: int = 0) -> tuple[SideRow, SideRow]:
    """Return a step of B and its step of A, with their scalars rows where these are not both "as before"."""
    one, other = a.read_row(step + shift), b.read_row(step)
    if (one.scalars is None) != (other.scalars is None):
        one = replace(one, scalars=a.read_scalars(step + shift))
        other = replace(other, scalars=b.read_scalars(step))
    return one, other


def _search_by_halves(a: Side, b: Side, count: int) -> int | None:
    def is_equal(step: int) -> bool:
        frame = a.log.find(step)
        return frame.payload[-32:] == b.log.find(step, frame.offset).payload[-32:]

    if count < 1 or is_equal(count):
        return None
    equal, differing = 0, count
    while differing - equal > 1:
        middle = (equal + differing) // 2
        if is_equal(middle):
            equal = middle
        else:
            differing = middle
    return differing


def _look_through(a: Side, b: Side, shift: int, count: int) -> int | None:
    """Compare rows as bytes without their step and leaf; decode only where these differ."""
    if count < 1:
        return None
    same_programs = a.program_ids == b.program_ids
    rows_a, rows_b = a.log.iterate(1 + shift), b.log.iterate(1)
    force_a, force_b = a.read_scalars(1 + shift), b.read_scalars(1)
    for step, one, other in zip(range(1, count + 1), rows_a, rows_b, strict=False):
        if same_programs and force_a == force_b and is_unchanged(one):
            _, start_a = read_step(one)
            _, start_b = read_step(other)
            if one[start_a:-32] == other[start_b:-32]:
                continue
        row_a, row_b = _make_row(a, one, force_a), _make_row(b, other, force_b)
        force_a, force_b = row_a.scalars or force_a, row_b.scalars or force_b
        if compare_rows(row_a, row_b):
            return step
    return None


def _make_row(side: Side, payload: bytes, force: bytes) -> SideRow:
    parts = decode_quickly(payload)
    return SideRow(parts, side.get_program_id(parts.program), parts.scalars if parts.scalars is not None else force)


def iterate_pairs(a: Side, b: Side, shift: int, first: int = 1) -> Iterator[tuple[int, SideRow, SideRow]]:
    """Yield (step of B, row of A, row of B) for all steps that both runs have, from step `first` of B on."""
    pairs = zip(a.iterate_rows(first + shift), b.iterate_rows(first), strict=False)
    for number, (one, other) in enumerate(pairs):
        yield first + number, one, other
