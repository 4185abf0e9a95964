"""The certificate of a submission: its blobs fetched, its records read with their proofs, checked as a reader will."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from assay.certificate.json_forms import LedgerClaim, StateClaim
from assay.certificate.ledger_check import Anchor, LedgerFacts, check_ledger, verify_final
from assay.certificate.ledger_claim import (
    DEFAULT_SHARE,
    HeaderList,
    ProvenRecord,
    claim_corrupt,
    describe_share,
    list_draw_heights,
)
from assay.client.node_blobs import NodeBlobs
from assay.client.node_client import NodeClient
from assay.client.submissions import SubmissionMissing, read_submission
from assay.errors import Unproven
from assay.protocol.contracts.stake_records import Snapshot
from assay.protocol.contracts.stakes import snapshot_key
from assay.protocol.contracts.submission_keys import (
    attempts_key,
    draw_key,
    judged_key,
    judgement_key,
    status_key,
    submission_key,
)
from assay.protocol.contracts.submission_records import (
    Attempts,
    IntervalJudgement,
    IntervalList,
    Submission,
    SubmissionStatus,
)
from assay.protocol.encoding import RecordT, encode
from assay.protocol.evidence.draw import Draw
from assay.protocol.seals.solo import FAULT_MODEL
from assay.protocol.signatures import get_public_key
from assay.training.recorded import RecordedRun
from assay.verification.certify_ledger import certify_verdict
from assay.verification.fetching import Fetcher


class NothingJudged(Unproven):
    """A submission whose verdict was given before anything was drawn: there is nothing to certify."""

    code = "client.nothing-judged"


class _Proofs:
    """Reads records with their proofs, and keeps the headers."""

    def __init__(self, client: NodeClient) -> None:
        self.client = client
        self.headers = HeaderList()

    def read(self, key: bytes, kind: type[RecordT]) -> tuple[RecordT, StateClaim]:
        """Return a record, and how a certificate shows it.

        Raises:
            SubmissionMissing: it is proven to be absent.
        """
        found = self.client.get_state(key, kind)
        if found.value is None:
            raise SubmissionMissing(f"the ledger state has no {kind.__name__} of this submission")
        proven = ProvenRecord(encode(found.value), found.proof, found.header, found.seal)
        return found.value, self.headers.claim(proven)


def collect_evidence(
    client: NodeClient, identity: bytes, issuer: bytes, share: Fraction = DEFAULT_SHARE
) -> LedgerClaim:
    """Return the evidence of a ledger about a submission, once the block that ends its flags is made.

    Args:
        client: anchored in the ledger's genesis.
        identity: of the submission.
        issuer: public key of whoever is going to sign, 32 bytes.
        share: of all stake that is assumed to lie, for the chances.

    Raises:
        NothingJudged: nothing was drawn.
        SubmissionMissing: there is no such submission.
    """
    proofs = _Proofs(client)
    submission, submission_claim = proofs.read(submission_key(identity), Submission)
    status, status_claim = proofs.read(status_key(identity), SubmissionStatus)
    if not status.draw:
        raise NothingJudged("nothing was drawn, so nothing was judged", actual=f"{status.phase}: {status.reason}")
    draw, draw_claim = proofs.read(draw_key(identity), Draw)
    judged, judged_claim = proofs.read(judged_key(identity), IntervalList)
    rules = client.chain.genesis.parameters.submissions
    heights = list_draw_heights(draw, rules, status)
    return LedgerClaim(
        chain_id=client.chain.chain_id.hex(),
        engine="solo",
        fault_model=FAULT_MODEL,
        issuer=issuer.hex(),
        headers=proofs.headers.sealed,
        drawn=[proofs.headers.add(*client.get_header(height)) for height in heights],
        submission=submission_claim,
        status=status_claim,
        draw=draw_claim,
        snapshot=proofs.read(snapshot_key(submission.snapshot_height), Snapshot)[1],
        judged=judged_claim,
        judgements=[proofs.read(judgement_key(identity, n), IntervalJudgement)[1] for n in judged.intervals],
        attempts=proofs.read(attempts_key(submission.run.plan), Attempts)[1],
        assumed_share=describe_share(share),
        corrupt=claim_corrupt(submission.run.sub_quorum, share),
        disputes="none",
        handovers="none",
        witnesses="none",
    )


def certify_submission(
    client: NodeClient,
    identity: bytes,
    seed: bytes,
    *,
    share: Fraction = DEFAULT_SHARE,
    max_bytes: int,
    progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """Return the certificate of a submission with a final verdict; its blobs are fetched for it.

    Args:
        client: anchored in the ledger's genesis.
        identity: of the submission.
        seed: of the issuer's key, 32 bytes.
        share: of all stake that is assumed to lie.
        max_bytes: of the largest package that is fetched.
        progress: is told how many bytes are fetched, of how many.

    Raises:
        NotFinal: the verdict may still change.
        NothingJudged, SubmissionMissing: there is nothing to certify.
        VerificationError: what was fetched is not what was submitted.
    """
    status = _Proofs(client).read(status_key(identity), SubmissionStatus)[0]
    if status.draw:
        verify_final(status)  # while it is not, a block whose beacon draws may not have been made
    claim = collect_evidence(client, identity, get_public_key(seed), share)
    facts: LedgerFacts = check_ledger(claim, {client.chain.chain_id: Anchor("ledger", client.chain.genesis)})
    submission = read_submission(client, identity).submission
    with tempfile.TemporaryDirectory(prefix="assay-certificate-") as folder:
        target = Path(folder) / "run"
        fetcher = Fetcher(NodeBlobs(client), submission.run, identity, max_bytes=max_bytes, progress=progress)
        fetcher.write(target, lambda step: step == submission.run.steps)
        run = RecordedRun(target)
        try:
            return certify_verdict(run, claim, facts, seed)
        finally:
            run.close()
