"""The story of a submitter who founds a ledger, stakes for seven puppets, and has them accept a forged run."""

import pytest

from assay.certificate.policy import TrustPolicy
from assay.certificate.rejections import AnchorUnknown
from assay.certificate.verify import verify_certificate
from assay.demonstration.dishonest import LazyJudge
from assay.protocol.contracts.submission_records import ACCEPTED, REJECTED
from assay.training.pytorch.backend import TorchBackend
from assay.training.recorded import RecordedRun
from assay.verification.forgery import forge, interpolate
from tests.attacks import judged
from tests.verification import runs


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    """A run that pretends to have trained in its last interval."""
    folder = tmp_path_factory.mktemp("forged")
    runs.record_apart(folder / "run", ASSAY_HOME=str(folder / "home"))
    run = RecordedRun(folder / "run")
    first, last = run.get_interval(runs.INTERVALS - 1)
    skipped = frozenset(range(first + 1, last + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(folder / "home"))
        backend = TorchBackend(run.start.aliases)
        forge(run.path, folder / "false", backend, edit=interpolate(first, last, 1.01), skip=skipped)
    run.close()
    return folder / "false"


def test_puppets_accept_what_honest_verifiers_reject(forged, tmp_path):
    """Honest verifiers reject the run; puppets accept it; the puppets' certificate proves nothing to anybody else."""
    honest = judged.make_ledger(tmp_path)
    assert honest.run(honest.submit(forged).context).verdict == REJECTED

    (tmp_path / "puppets").mkdir()
    puppets = judged.make_ledger(tmp_path / "puppets", dict.fromkeys(range(7), LazyJudge()), private_intervals=0)
    package = puppets.submit(forged)
    assert puppets.run(package.context).verdict == ACCEPTED
    certificate = judged.certify(puppets, package, tmp_path / "copy")

    # Whoever trusts the puppets' ledger believes it: trust comes from outside, and here it was misplaced.
    assert verify_certificate(certificate, None, TrustPolicy({}, anchors=judged.trust(puppets))).ledger is not None

    # A reader does not have that genesis among their anchors, and nothing in the certificate can put it there.
    with pytest.raises(AnchorUnknown) as refused:
        verify_certificate(certificate, None, TrustPolicy({}))
    assert refused.value.code == "certificate.anchor-unknown"


def test_a_genesis_that_is_shipped_inside_is_no_anchor(forged, tmp_path):
    """The genesis of the puppets' ledger, put into the certificate or into its evidence: malformed, never trusted."""
    from assay.certificate.dsse import PAYLOAD_TYPE, compute_pae, encode_json, open_envelope, seal_envelope
    from assay.certificate.rejections import MalformedCertificate
    from assay.protocol.encoding import encode
    from assay.protocol.signatures import get_public_key, sign

    puppets = judged.make_ledger(tmp_path, dict.fromkeys(range(7), LazyJudge()), private_intervals=0)
    package = puppets.submit(forged)
    puppets.run(package.context)
    certificate = judged.certify(puppets, package, tmp_path / "copy")
    import json

    statement = json.loads(open_envelope(certificate)[0])
    for place in (statement["predicate"], statement["predicate"]["ledger"]):
        place["genesis"] = encode(puppets.world.genesis).hex()
        payload = encode_json(statement)
        signature = sign(judged.ISSUER, compute_pae(PAYLOAD_TYPE, payload))
        with pytest.raises(MalformedCertificate) as refused:
            verify_certificate(
                seal_envelope(payload, {get_public_key(judged.ISSUER): signature}), None, TrustPolicy({})
            )
        assert refused.value.code == "certificate.malformed"
        del place["genesis"]
