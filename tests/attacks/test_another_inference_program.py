"""Right weights, and metrics that another inference program gave than the one that everybody thinks of.

Metrics are recomputed with the program that the run names. A metric of another program under that name differs. A
dishonest program under its own name is recomputed like any other: the certificate names it, and judges no program.
"""

import msgspec
import pytest

from assay.certificate.rejections import MetricsDiffer
from assay.protocol.encoding import encode, float_to_bits
from assay.protocol.evidence.plan import Metric, ProgramUse
from assay.protocol.evidence.program import compute_program_id
from assay.training.pytorch.known_answer import compute_known_answer
from assay.training.recorded import RecordedRun
from tests.attacks.programs import node, program
from tests.attacks.runs import audit, copy_run, find_differing, rewrite_closing, verify

PERFECT = (Metric("accuracy", float_to_bits(1.0), 150),)


def test_a_metric_of_another_program_differs(honest, honest_audit, tmp_path):
    """All 150 right is claimed for the honest program, which gives fewer: the evaluation differs, the steps do not."""
    honest_evaluation = RecordedRun(honest).closing.evaluations[0]
    assert find_differing(honest_audit) == []
    assert honest_evaluation.metrics != PERFECT
    evaluation = msgspec.structs.replace(honest_evaluation, metrics=PERFECT)
    found = audit(rewrite_closing(copy_run(honest, tmp_path / "copy"), evaluations=(evaluation,)))
    assert find_differing(found) == ["evaluation 0"]
    with pytest.raises(MetricsDiffer):
        verify(found)


def test_a_program_that_copies_the_targets_succeeds_and_is_named(honest, tmp_path):
    """An inference program that compares the targets with themselves: recomputed, matches, named, not judged."""
    run = copy_run(honest, tmp_path / "copy")
    cheat = program(["f32 150 4", "i64 150"], [node("eq.Tensor", ["$1", "$1"], ["bool 150"])])
    identity = compute_program_id(cheat)
    (run / "programs" / f"{identity.hex()}.bin").write_bytes(encode(cheat))
    closing = RecordedRun(run).closing
    honest_id = closing.evaluations[0].program
    uses = tuple(use for use in closing.programs if use.program != honest_id)
    evaluation = msgspec.structs.replace(closing.evaluations[0], program=identity, metrics=PERFECT, batch_size=150)
    rewrite_closing(
        run, programs=(*uses, ProgramUse(identity, 0, compute_known_answer(cheat))), evaluations=(evaluation,)
    )
    found = audit(run)
    assert find_differing(found) == []
    findings = verify(found)
    assert any(f"recomputed with inference program {identity.hex()[:16]}" in claim for claim in findings.proven)
    assert not any(honest_id.hex()[:16] in claim for claim in findings.proven)
    assert "That the data or the program are benign." in findings.not_proven
