"""The same run under the context of a submission: other leaf ids, the same tensors, roots and checkpoints.

Source: `spec/submission-package.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from assay.protocol.evidence.plan import ClosingRecord
from assay.protocol.evidence.plan_rules import verify_closing_record
from assay.protocol.evidence.transcript import StepParts, compute_step_id, rebuild_leaf
from assay.training.recorded import RecordedRun
from assay.training.recorder import Chain, StartRecord, replace_leaf


@dataclass(frozen=True)
class Relinked:
    """What changes when a run is bound to a submission.

    Attributes:
        start: with the context.
        rows: the parts of every step, with the new ids of their leaves.
        closing: with the new transcript.
        leaf_ids: of all leaves, leaf 0 first.
    """

    start: StartRecord
    rows: list[StepParts]
    closing: ClosingRecord
    leaf_ids: list[bytes]


def relink(run: RecordedRun, context: bytes) -> Relinked:
    """Link the leaves of a finished run again from their kept parts, under another context (PKG-8).

    Args:
        run: finished; its own chain is checked on the way.
        context: 32 bytes (PKG-7), or empty for a run alone.

    Raises:
        NotFinished: the run has no closing record.
        RunContradicts: its rows do not follow one from the other.
    """
    chain = Chain(run.plan_id, context, run.start.state_root)
    rows = []
    for row in run.rows:
        leaf = rebuild_leaf(row.parts, row.leaf.program, chain.leaves[-1], row.scalars)
        parts = replace_leaf(row.parts, compute_step_id(leaf))
        chain.accept(parts, row.scalars)
        rows.append(parts)
    closing = msgspec.structs.replace(run.closing, transcript=chain.get_transcript())
    verify_closing_record(run.plan, closing)
    return Relinked(msgspec.structs.replace(run.start, context=context), rows, closing, chain.leaves)
