"""Recomputing every leaf of a run from its rows: what a comparison does that believes nothing.

Rows in their most usual form are verified natively, many at a time; every other row, and every row where there is no
native library, is decoded and rebuilt by `transcript.rebuild_leaf`.

Source: `spec/transcript.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from assay.kernels import step_chain
from assay.protocol.encoding import decode
from assay.protocol.evidence.transcript import StepParts, compute_scalars_digest, compute_step_id, join_leaf
from assay.protocol.evidence.transcript_rules import verify_step_parts
from assay.storage.step_rows import CHECK_BYTES, MARK_BYTES, MAX_ROW_BYTES, is_whole, parse_mark
from assay.training.compare.side import Side, SideContradicts

PROGRESS_EVERY: Final = 10_000


def verify_chain(side: Side, progress: Callable[[int, int], None] | None = None) -> None:
    """Check that every row is as it was written, and that every leaf follows from its row and the leaf before.

    Args:
        side: a run.
        progress: is told how many rows are done, of how many.

    Raises:
        LogDamaged: a row is not as it was written.
        SideContradicts: a leaf does not follow.
        MalformedEvidence: a row is not in its form.
    """
    data, end, steps = side.log.map_all(), side.log.end, side.steps
    walk = step_chain.RowWalk(data, side.program_ids, side.start_id)
    while walk.position < end:
        due = PROGRESS_EVERY - walk.step % PROGRESS_EVERY
        found = walk.verify(end, due)
        if found == step_chain.MARK:
            if parse_mark(data[walk.position : walk.position + MARK_BYTES]) is None:
                raise side.log.make_damaged(walk.step, "bytes that are no row")
            walk.skip(walk.position + MARK_BYTES)
        elif found != step_chain.END:  # read it again: it is of another form, or it is wrong and the error says how
            _take_row(side, data, walk)
        if progress is not None and walk.step and walk.step % PROGRESS_EVERY == 0:
            progress(walk.step, steps)
    if walk.step != steps:
        raise side.log.make_damaged(walk.step, f"{walk.step} rows instead of {steps}")


def _take_row(side: Side, data: Any, walk: step_chain.RowWalk) -> None:
    """Decode the next row, verify it, and move the walk behind it.

    Raises:
        LogDamaged, SideContradicts, MalformedEvidence: it does not hold.
    """
    step = walk.step + 1
    length = int.from_bytes(data[walk.position : walk.position + 4], "little")
    after = walk.position + 4 + length + CHECK_BYTES
    if length > MAX_ROW_BYTES or not is_whole(data[walk.position : after]):
        raise side.log.make_damaged(step - 1, "other bytes")
    parts = decode(data[walk.position + 4 : after - CHECK_BYTES], StepParts, max_bytes=MAX_ROW_BYTES)
    verify_step_parts(parts)
    if parts.step != step:
        raise side.log.make_damaged(step - 1, f"a row of step {parts.step}")
    scalars = walk.scalars if parts.scalars is None else compute_scalars_digest(parts.scalars)
    if scalars is None:
        raise SideContradicts(f"{side.path}: row {step} refers to a scalars row that is not there")
    leaf = compute_step_id(join_leaf(parts, side.get_program_id(parts.program), walk.leaf, scalars))
    if leaf != parts.leaf:
        raise SideContradicts(
            f"{side.path}: the leaf of step {step} does not follow from its row and the leaf before it",
            next_step="`assay run verify` says what else does not hold",
        )
    walk.accept(after, leaf, scalars)
