"""The story of a certificate that is written before the verdict is final, or shown as if nothing came after."""

import pytest

from assay.certificate.ledger_check import check_ledger
from assay.certificate.policy import TrustPolicy
from assay.certificate.rejections import NotFinal
from assay.certificate.verify import verify_certificate
from assay.client.certifying import collect_evidence
from assay.protocol.signatures import get_public_key
from tests.attacks import judged
from tests.verification import runs


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """An honest run."""
    folder = tmp_path_factory.mktemp("recorded")
    runs.record_apart(folder / "run", ASSAY_HOME=str(folder / "home"))
    return folder / "run"


def test_a_verdict_that_may_still_change_is_no_evidence(recorded, tmp_path):
    """Evidence from the window is refused; the same submission, final, is accepted, and says until when it speaks."""
    ledger = judged.make_ledger(tmp_path, window_blocks=30)
    package = ledger.submit(recorded)
    for number in range(7):
        ledger.start(number)
    while ledger.get_status(package.context).phase != "window":
        for verifier in ledger.verifiers.values():
            verifier.look()
        ledger.world.make_block()
    early = collect_evidence(judged.WorldClient(ledger.world), package.context, get_public_key(judged.ISSUER))
    with pytest.raises(NotFinal) as refused:
        check_ledger(early, judged.trust(ledger))
    assert refused.value.code == "certificate.not-final"

    ledger.run(package.context)
    certificate = judged.certify(ledger, package, tmp_path / "copy")
    findings = verify_certificate(certificate, None, TrustPolicy({}, anchors=judged.trust(ledger)))
    assert findings.ledger.height >= findings.ledger.final_height
    assert any(f"after height {findings.ledger.height}" in sentence for sentence in findings.not_proven)


def test_a_second_attempt_is_counted(recorded, tmp_path):
    """Whoever submits the same plan again shows a certificate that says so, whatever became of the first attempt."""
    import msgspec

    from tests.verification.simulated import TERMS

    ledger = judged.make_ledger(tmp_path)
    first = ledger.submit(recorded)
    ledger.run(first.context)
    second = ledger.submit(recorded, 1, msgspec.structs.replace(TERMS, attempt=2))
    ledger.run(second.context)
    certificate = judged.certify(ledger, second, tmp_path / "copy")
    findings = verify_certificate(certificate, None, TrustPolicy({}, anchors=judged.trust(ledger)))
    assert findings.ledger.attempts == 2
    assert any("submitted 2 times" in sentence for sentence in findings.not_proven)
