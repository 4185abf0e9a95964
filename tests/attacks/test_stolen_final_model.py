"""The final model of another run is spliced in: into the last step, into the closing record, or as the file alone."""

import io

import numpy as np
import pytest

from assay.certificate.rejections import AnotherModel, IntervalDiffers
from assay.certificate.verify import verify_certificate
from assay.errors import Refuted
from assay.training.recorded import RecordedRun, RunContradicts
from assay.verification.certify import read_final
from assay.verification.structure import verify_structure
from tests.attacks.runs import (
    STEPS,
    TRUSTING,
    audit,
    copy_run,
    export,
    find_differing,
    forge_run,
    make_certificate,
    record,
    rewrite_closing,
)


@pytest.fixture(scope="module")
def stolen(tmp_path_factory):
    """Another run with the same shapes: somebody else's model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("recorder")))
        path = tmp_path_factory.mktemp("runs") / "stolen"
        record(path, seed=7)
    return path


def test_a_model_spliced_into_the_last_step(stolen, honest, honest_audit, tmp_path):
    """The last interval is in every sample: one interval is enough to find it."""
    assert find_differing(honest_audit) == []
    final = read_final(RecordedRun(stolen))
    wanted = {(r.namespace, r.name): data for r, data in zip(final.manifest.records, final.tensors, strict=True)}

    def splice(step, state):
        if step == STEPS:
            for name, data in state.tensors.items():
                np.frombuffer(data, np.uint8)[:] = np.frombuffer(wanted[name], np.uint8)

    forged = forge_run(honest, tmp_path / "forged", edit=splice)
    found = audit(forged, sample=1)
    assert find_differing(found) == [9]
    assert export(forged) == export(stolen)
    with pytest.raises(IntervalDiffers):
        verify_certificate(make_certificate(found), io.BytesIO(export(forged)), TRUSTING)


def test_a_closing_record_that_names_another_final_state(stolen, honest, tmp_path):
    """The closing record claims the stolen roots: the last leaf has another one, which needs no replay."""
    assert verify_structure(honest).finished
    other = RecordedRun(stolen).closing
    run = rewrite_closing(
        copy_run(honest, tmp_path / "copy"), final_state=other.final_state, model_root=other.model_root
    )
    with pytest.raises(RunContradicts) as refusal:
        verify_structure(run)
    assert isinstance(refusal.value, Refuted)


def test_a_closing_record_that_names_another_model_root(stolen, honest, tmp_path):
    """Only the model root is replaced: it is one half of the final state root."""
    run = rewrite_closing(copy_run(honest, tmp_path / "copy"), model_root=RecordedRun(stolen).closing.model_root)
    with pytest.raises(Refuted):
        verify_certificate(make_certificate(audit(run)), None, TRUSTING)


def test_a_stolen_file_beside_an_honest_certificate(stolen, honest, honest_audit):
    """The honest certificate with the stolen file: refuted, and it holds with its own."""
    certificate = make_certificate(honest_audit)
    assert verify_certificate(certificate, io.BytesIO(export(honest)), TRUSTING).differing == []
    with pytest.raises(AnotherModel):
        verify_certificate(certificate, io.BytesIO(export(stolen)), TRUSTING)
