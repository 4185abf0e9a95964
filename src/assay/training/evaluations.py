"""The evaluations of a run in progress, kept until the closing record takes them."""

from __future__ import annotations

from assay.protocol.encoding import Record, decode, encode
from assay.protocol.evidence.plan import Evaluation
from assay.storage.run_directory import RunDirectory

_NAME = "evaluations.bin"


class EvaluationList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Evaluations in the order in which they were made."""

    version: int
    evaluations: tuple[Evaluation, ...]

    @staticmethod
    def read(run: RunDirectory, step: int) -> tuple[Evaluation, ...]:
        """Return what was measured up to `step`."""
        if not run.has_object(_NAME):
            return ()
        stored = decode(run.read_object(_NAME), EvaluationList).evaluations
        return tuple(evaluation for evaluation in stored if evaluation.step <= step)

    @staticmethod
    def append(run: RunDirectory, evaluation: Evaluation) -> None:
        """Add one; a resumed run that measures the same again changes nothing."""
        stored = [
            entry
            for entry in EvaluationList.read(run, 2**62)
            if (entry.step, entry.program, entry.data) != (evaluation.step, evaluation.program, evaluation.data)
        ]
        run.write_object(_NAME, encode(EvaluationList(0, (*stored, evaluation))), replace=True)
