"""Certificates with the evidence of a ledger: written from a node, verified offline against an anchor alone."""

import random
from fractions import Fraction

import msgspec
import pytest

from assay.certificate.dsse import PAYLOAD_TYPE, compute_pae, encode_json, open_envelope, seal_envelope
from assay.certificate.ledger_check import Anchor
from assay.certificate.policy import TrustPolicy
from assay.certificate.rejections import (
    AnchorUnknown,
    AnotherModel,
    IntervalDiffers,
    LedgerUnproven,
    NotFinal,
    SignersUnknown,
)
from assay.certificate.statement import decode_statement
from assay.certificate.verify import verify_certificate
from assay.client.certifying import certify_submission, collect_evidence
from assay.errors import AssayError, Refuted
from assay.protocol.blocks import compute_chain_id
from assay.protocol.evidence.chances import compute_corrupt_chance, compute_miss_chance
from assay.protocol.signatures import get_public_key, sign
from assay.training.pytorch.backend import TorchBackend
from assay.training.recorded import RecordedRun
from assay.verification.certify import export_model, read_final
from assay.verification.forgery import forge, interpolate
from tests.client.network import Gated, await_facts, await_final, running_network, submit
from tests.node.running import ALICE
from tests.verification import runs

ISSUER = b"i" * 32


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """An honest and a false run, judged by five verifiers over HTTP: anchor, certificates, model file."""
    folder = tmp_path_factory.mktemp("network")
    path, false = folder / "run", folder / "false"
    runs.record_apart(path, ASSAY_HOME=str(folder / "home"))
    opened = RecordedRun(path)
    first, last = opened.get_interval(runs.INTERVALS - 1)
    skipped = frozenset(range(first + 1, last + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_HOME", str(folder / "home"))
        forge(path, false, TorchBackend(opened.start.aliases), edit=interpolate(first, last, 1.01), skip=skipped)
    gated = Gated()
    with running_network(folder, judges=dict.fromkeys(range(5), gated)) as node:
        good, bad = submit(node, path), submit(node, false)
        with node.connect() as client:
            await_facts(client, good, lambda status: status.draw)
            with pytest.raises(NotFinal):
                certify_submission(client, good, ISSUER, max_bytes=1 << 30)
        gated.gate.set()
        facts = [await_final(node, identity) for identity in (good, bad)]
        with node.connect() as client:
            made = [certify_submission(client, identity, ISSUER, max_bytes=1 << 30) for identity in (good, bad)]
            claim = collect_evidence(client, good, get_public_key(ISSUER))
    model = bytearray()
    export_model(read_final(opened), model.extend)
    return {
        "genesis": node.genesis,
        "facts": facts,
        "good": made[0],
        "bad": made[1],
        "model": bytes(model),
        "claim": claim,
    }


@pytest.fixture
def policy(judged):
    """Trusts the ledger and nobody else."""
    return TrustPolicy({}, anchors={compute_chain_id(judged["genesis"]): Anchor("ours", judged["genesis"])})


class Stream:
    """A file in memory."""

    def __init__(self, data):
        self.data = data

    def read(self, count, /):
        """Return the next bytes."""
        part, self.data = self.data[:count], self.data[count:]
        return part


def sign_again(data, change, seed=ISSUER):
    """Return a certificate whose statement was changed, signed again by its issuer."""
    statement = decode_statement(open_envelope(data)[0])
    payload = encode_json(msgspec.structs.replace(statement, predicate=change(statement.predicate)))
    return seal_envelope(payload, {get_public_key(seed): sign(seed, compute_pae(PAYLOAD_TYPE, payload))})


def change_ledger(predicate, **changes):
    """Return a predicate with another claim of the ledger."""
    return msgspec.structs.replace(predicate, ledger=msgspec.structs.replace(predicate.ledger, **changes))


def test_an_accepted_run_verifies_offline(judged, policy):
    """CRT-32 to CRT-37: nothing but the genesis is trusted; both chances count lying sub-quorums."""
    assert judged["facts"][0].status.verdict == "accepted"
    findings = verify_certificate(judged["good"], Stream(judged["model"]), policy)
    ledger = findings.ledger
    assert (ledger.name, ledger.verdict, ledger.sub_quorum) == ("ours", "accepted", 3)
    assert ledger.account == get_public_key(ALICE).hex()
    corrupt = compute_corrupt_chance(3, Fraction(1, 5))
    assert Fraction(findings.miss_one) == compute_miss_chance(runs.INTERVALS, 3, 1, corrupt)
    assert findings.start == "recomputed"
    assert any("Ledger ours" in sentence and "states" in sentence for sentence in findings.proven)
    assert any("operator" in sentence for sentence in findings.not_proven)


def test_a_rejected_run_is_refuted(judged, policy):
    """CRT-35, CRT-37: the ledger's finding about an interval refutes, for whoever trusts the ledger."""
    assert judged["facts"][1].status.verdict == "rejected"
    with pytest.raises(IntervalDiffers) as refuted:
        verify_certificate(judged["bad"], None, policy)
    assert refuted.value.findings.differing == [runs.INTERVALS - 1]


def test_another_model_is_refuted(judged, policy):
    """CRT-36: the model file that the ledger accepted is one, and this is another."""
    changed = bytearray(judged["model"])
    changed[-1] ^= 1
    with pytest.raises(AnotherModel):
        verify_certificate(judged["good"], Stream(bytes(changed)), policy)


def test_an_unknown_ledger_proves_nothing(judged):
    """CRT-32: without an anchor the same certificate proves nothing, accepted or rejected."""
    for name in ("good", "bad"):
        with pytest.raises(AnchorUnknown):
            verify_certificate(judged[name], None, TrustPolicy({}))


def test_the_issuer_can_change_nothing(judged, policy):
    """CRT-33 to CRT-35: whatever the issuer writes otherwise than it was judged is seen, and refutes nothing."""
    claim = decode_statement(open_envelope(judged["good"])[0]).predicate.ledger
    zero = msgspec.structs.replace(claim.corrupt, fraction="0/1")
    cases = [
        lambda p: change_ledger(p, assumed_share="0/1"),
        lambda p: change_ledger(p, corrupt=zero),
        lambda p: change_ledger(p, fault_model="none"),
        lambda p: change_ledger(p, headers=[]),
        lambda p: change_ledger(p, judgements=claim.judgements[1:]),
        lambda p: change_ledger(p, judgements=claim.judgements[::-1]),
        lambda p: change_ledger(p, status=claim.submission),
        lambda p: change_ledger(p, drawn=[10_000]),
        lambda p: change_ledger(p, drawn=claim.drawn[::-1]),
        lambda p: change_ledger(p, snapshot=claim.attempts),
        lambda p: change_ledger(p, assumed_share="2/10"),
    ]
    for change in cases:
        with pytest.raises(AssayError) as refused:
            verify_certificate(sign_again(judged["good"], change), None, policy)
        assert not isinstance(refused.value, Refuted)
        assert refused.value.code.startswith(
            ("certificate.ledger-unproven", "encoding", "certificate.signers", "state")
        )


def test_findings_that_nobody_made_are_seen(judged, policy):
    """CRT-35: hiding the interval that differs, or praising what was not recomputed, contradicts the evidence."""

    def praise(predicate):
        listed = [msgspec.structs.replace(finding, result="matches") for finding in predicate.findings.listed]
        return msgspec.structs.replace(predicate, findings=msgspec.structs.replace(predicate.findings, listed=listed))

    with pytest.raises(SignersUnknown):
        verify_certificate(sign_again(judged["bad"], praise), None, policy)


def test_every_byte_of_the_evidence_is_bound(judged, policy, rounds):
    """Seeded changes of the certificate: refused, never accepted, and never read as a refutation."""
    rng = random.Random(7)
    data = judged["good"]
    for _ in range(rounds(300, 10_000)):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        with pytest.raises(AssayError) as refused:
            verify_certificate(bytes(changed), None, policy)
        assert not isinstance(refused.value, Refuted)


def test_another_evidence_is_refused(judged, policy):
    """CRT-34: the evidence of one submission does not serve another."""
    other = decode_statement(open_envelope(judged["bad"])[0]).predicate.ledger
    changed = sign_again(judged["good"], lambda p: msgspec.structs.replace(p, ledger=other))
    with pytest.raises((SignersUnknown, LedgerUnproven)):
        verify_certificate(changed, None, policy)
    assert judged["claim"].chain_id == other.chain_id
