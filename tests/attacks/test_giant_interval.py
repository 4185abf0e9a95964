"""One giant interval hides among tiny ones, so that a sample of intervals is a poor sample of steps."""

from dataclasses import replace

import msgspec
import pytest

from assay.certificate.dsse import encode_json, open_envelope
from assay.certificate.rejections import ClaimContradicted
from assay.certificate.verify import verify_certificate
from assay.errors import MalformedEvidence
from assay.protocol.evidence.plan_rules import verify_plan
from assay.protocol.evidence.transcript_rules import RootPeriodContradicted
from assay.training.recorded import RecordedRun
from assay.verification.structure import verify_structure
from tests.attacks.runs import AUDITOR, TRUSTING, audit, make_certificate, read_files, relink
from tests.certificate.cases import resign


def test_the_plan_has_one_length(honest):
    """The length is one integer of the plan, at least 1: 40 steps are ten intervals of 4, and no list fits."""
    plan = RecordedRun(honest).plan
    assert (plan.interval_length, RecordedRun(honest).intervals) == (4, 10)
    assert [RecordedRun(honest).get_interval(index) for index in (0, 9)] == [(0, 4), (36, 40)]
    with pytest.raises(MalformedEvidence):
        verify_plan(msgspec.structs.replace(plan, interval_length=0))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**msgspec.structs.asdict(plan), "interval_length": [1, 39]}, type(plan), strict=True)


def test_a_missing_state_root_is_seen_without_replay(honest, tmp_path):
    """The roots after steps 12, 16 and 20 are left out, as if one interval went from 8 to 24: refuted at step 12."""
    assert verify_structure(honest).intervals == 10
    before = read_files(honest)

    def leave_out(step, result):
        return replace(result, state_root=b"") if step in {12, 16, 20} else result

    merged = relink(honest, tmp_path / "merged", leave_out)
    with pytest.raises(RootPeriodContradicted) as refusal:
        verify_structure(merged)
    assert "step 12" in refusal.value.message
    assert read_files(honest) == before


def test_a_certificate_cannot_count_other_intervals(honest_audit):
    """The number of intervals follows from plan and steps: a signed certificate that says 5 contradicts itself."""
    payload, _ = open_envelope(make_certificate(honest_audit))
    assert verify_certificate(resign(payload, (AUDITOR,)), None, TRUSTING).intervals == 10
    values = msgspec.json.decode(payload)
    values["predicate"]["intervals"] = 5
    with pytest.raises(ClaimContradicted):
        verify_certificate(resign(encode_json(values), (AUDITOR,)), None, TRUSTING)


def test_a_run_of_one_interval_is_recomputed_whole(honest):
    """A plan whose one interval is the whole run leaves nothing to chance: every sample has the last interval."""
    assert audit(honest, sample=1).selection.intervals == (9,)
