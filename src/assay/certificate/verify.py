"""Verification of a training certificate: pure, offline, from bytes, a stream and the reader's policy alone.

The steps, in the order in which they are taken:

0. The *caller* chooses whose keys to trust, opens the files, and turns the outcome into an exit code.
1. Envelope: at most 8 MiB, one canonical form, signatures sorted and unique.
2. Signatures: each over the pre-authentication encoding, by the key that its keyid is. One that fails and is named
   after a trusted key refutes; one that fails under any other key makes the envelope malformed.
3. Statement: one canonical form, a known version.
4. Signers: exactly the checkers that the statement names.
5. Plan, closing record and profile: canonical bytes, ids, renderings, links.
6. Recorder: its signature over transcript root and closing record.
7. Roots: first leaf → plan and start; last leaf → final state → model root.
8. Findings: N, s, level of evidence, the two chances.
9. Programs, evaluations, events: the same as in the closing record; numbers of the scalars are numbers.
10. Subjects: model root and files as in the predicate.
11. Model file, if one is given: size, SHA-256, one canonical form, model root.
12. Trust: a trusted signer; no interval that differs; a checker who is not the recorder; the policy.

Where a ledger checked, its evidence is opened before step 5 (CRT-32 to CRT-34) and compared after step 10 (CRT-35,
CRT-36); in step 12 the anchored ledger takes the place of the trusted signer.

Steps 5 to 11 refute only what a trusted key stands behind: a contradiction in a certificate that nobody trusted
signed proves nothing, and is reported as signers unknown. Otherwise anybody could have anything "refuted".

Source: `spec/certificate.md`, CRT-24 to CRT-30.
"""

from __future__ import annotations

from hashlib import sha256

from msgspec import UnsetType

from assay.certificate import consistency
from assay.certificate.dsse import PAYLOAD_TYPE, compute_pae, open_envelope
from assay.certificate.interval_findings import NO_CHANCE
from assay.certificate.ledger_check import check_ledger
from assay.certificate.model_file import CHUNK, MalformedModelFile, Reader, ScannedModel, compute_file_root, scan_model
from assay.certificate.policy import LEVELS, TrustPolicy
from assay.certificate.rejections import (
    AnotherModel,
    ClaimContradicted,
    ForeignSignatureFailed,
    IntervalDiffers,
    MetricsDiffer,
    OwnKeyOnly,
    PolicyNotMet,
    SignatureFailed,
    SignersUnknown,
    StartDiffers,
    VerdictRejected,
)
from assay.certificate.statement import ModelFile, Statement, decode_statement
from assay.certificate.wording import Checked, Findings, LedgerFindings, Signer, describe
from assay.errors import Refuted
from assay.protocol.contracts.submission_records import ACCEPTED, REJECTED
from assay.protocol.evidence.model_state import AliasTable
from assay.protocol.evidence.transcript import EMPTY_CONTEXT
from assay.protocol.signatures import verify_signature


def verify_certificate(data: bytes, model: Reader | None, policy: TrustPolicy) -> Findings:
    """Check a certificate, and a model file against it.

    Args:
        data: the bytes of the certificate.
        model: a binary stream at the start of the model file; None: nothing is proven about any file.
        policy: whose keys are trusted, and how much is enough.

    Returns:
        What is proven and what is not, in words and in numbers; only when everything holds.

    Raises:
        Refuted: an explicit finding about something that a trusted key stands behind (exit 1).
        Unproven: nothing contradicts and nothing proves (exit 3). `findings` holds the facts, where known.
        MalformedEvidence: not in the one canonical form (exit 3).
    """
    payload, signatures = open_envelope(data)  # 1
    trusted = _verify_signatures(payload, signatures, policy)  # 2
    try:
        statement = decode_statement(payload)  # 3
        consistency.check_signers(statement, set(signatures))  # 4
        findings = _verify_claims(statement, model, policy)  # 5 to 11
    except Refuted as finding:
        if trusted or (isinstance(finding, AnotherModel) and is_of_ledger(statement)):  # the ledger's word is proven
            raise
        raise SignersUnknown(
            f"signers unknown: nothing is proven about who checked; besides: {finding.message}",
            expected=finding.expected,
            actual=finding.actual,
        ) from None
    _verify_trust(findings, policy)  # 12
    return findings


def _verify_signatures(payload: bytes, signatures: dict[bytes, bytes], policy: TrustPolicy) -> bool:
    """Step 2 (CRT-3, CRT-25). Return whether a trusted key signed."""
    message = compute_pae(PAYLOAD_TYPE, payload)
    failed = []
    for key, signature in signatures.items():
        try:
            verify_signature(key, message, signature)
        except Refuted:
            failed.append(key)
    for key in failed:
        if key in policy.keys:
            raise SignatureFailed(
                f"{policy.keys[key]} did not sign this: its bytes or its signature were changed",
                expected=f"a signature by {key.hex()}",
                next_step="get the certificate again from its source; this says nothing about the model itself",
            )
    if failed:
        raise ForeignSignatureFailed("a signature does not hold", expected=f"a signature by {failed[0].hex()}")
    return any(key in policy.keys for key in signatures)


def _verify_claims(statement: Statement, model: Reader | None, policy: TrustPolicy) -> Findings:
    """Steps 5 to 11 (CRT-10 to CRT-24)."""
    predicate = statement.predicate
    plan, closing, profile = consistency.check_documents(predicate)  # 5
    recorder = consistency.check_recorder(predicate, closing)  # 6
    facts = None if isinstance(predicate.ledger, UnsetType) else check_ledger(predicate.ledger, policy.anchors)
    context = EMPTY_CONTEXT if facts is None else facts.submission.submission
    consistency.check_roots(predicate, plan, closing, context)  # 7
    consistency.check_start(predicate, plan)
    corrupt = NO_CHANCE if facts is None else facts.corrupt
    recomputed = consistency.check_level(predicate, plan, closing, corrupt)  # 8
    consistency.check_programs(predicate, closing)  # 9
    consistency.check_scalars(predicate, closing)
    consistency.check_evaluations(predicate, closing)
    consistency.check_events(predicate, closing)
    aliases = consistency.check_subjects(statement)  # 10
    if facts is not None:
        consistency.check_submission(predicate, closing, facts)
    file = None if model is None else _verify_model(statement, aliases, model)  # 11
    signers = []
    for checker in predicate.checkers:
        key = bytes.fromhex(checker.key)
        name = (policy.keys[key] or checker.key[:8]) if key in policy.keys else ""
        signers.append(Signer(checker.key, name, key == recorder, checker.replays))
    return describe(Checked(predicate, plan, closing, profile, recomputed, tuple(signers), file, facts))


def _verify_model(statement: Statement, aliases: AliasTable, stream: Reader) -> ModelFile:
    """Step 11 (CRT-24). No more bytes are read than the largest certified file has, and one."""
    claim, root = statement.predicate.model, statement.predicate.roots.model
    bounded = _Bounded(stream, max((int(file.size) for file in claim.files), default=2**63))
    try:
        scanned: ScannedModel | None = scan_model(bounded)
        reason = None
    except MalformedModelFile as error:
        scanned, reason = None, error
        while claim.files and bounded.read(CHUNK):  # the digest of all bytes decides, whatever stopped the reader
            pass
    found = bounded.digest.hexdigest()
    matching = [file for file in claim.files if file.sha256 == found and int(file.size) == bounded.size]
    if claim.files and not matching:
        raise AnotherModel(
            "this is not the certified model file" + (f" ({reason.message})" if reason else ""),
            expected=", ".join(f"sha256 {file.sha256}, {file.size} bytes" for file in claim.files),
            actual="more bytes" if bounded.size > bounded.limit else f"sha256 {found}, {bounded.size} bytes",
        )
    if scanned is None:
        raise reason if reason is not None else MalformedModelFile("the model file was not read")
    try:
        actual = compute_file_root(scanned.tensors, claim.parameters, claim.buffers, aliases).hex()
    except MalformedModelFile as error:
        actual = str(error)
    if actual != root:
        kind = ClaimContradicted if matching else AnotherModel
        raise kind("the model root of the file is not the certified one", expected=root, actual=actual)
    return matching[0] if matching else ModelFile("model", found, str(bounded.size))


class _Bounded:
    """A stream that hashes what passes and ends one byte after `limit`."""

    def __init__(self, stream: Reader, limit: int) -> None:
        self.stream = stream
        self.limit = limit
        self.size = 0
        self.digest = sha256()

    def read(self, count: int, /) -> bytes:
        """Return at most `count` bytes, none at the end."""
        left = self.limit + 1 - self.size
        data = self.stream.read(min(count, left)) if left > 0 else b""
        self.size += len(data)
        self.digest.update(data)
        return data


def is_of_ledger(statement: Statement) -> bool:
    """Return whether a ledger checked, and not the signers."""
    return not isinstance(statement.predicate.ledger, UnsetType)


def _verify_trust(findings: Findings, policy: TrustPolicy) -> None:
    """Step 12 (CRT-27, CRT-28, CRT-37)."""
    trusted = [signer for signer in findings.signers if signer.name]
    if not trusted and findings.ledger is None:
        raise SignersUnknown(
            "signers unknown: nothing is proven about who checked",
            expected="a signature by a key that you trust",
            actual=", ".join(signer.key for signer in findings.signers),
            next_step="if you know from elsewhere whose key this is: assay trust add NAME KEY",
        ).attach(findings)
    if findings.differing:
        raise IntervalDiffers(
            "an interval was recomputed and differs", expected="all match", actual=findings.differing[:20]
        ).attach(findings)
    if findings.start == "differs":
        raise StartDiffers("the start was recomputed from the seed and differs", expected="the claimed start").attach(
            findings
        )
    if findings.differing_metrics:
        raise MetricsDiffer(
            "metrics were recomputed and differ", expected="all match", actual=", ".join(findings.differing_metrics)
        ).attach(findings)
    if findings.ledger is not None:
        _verify_verdict(findings, findings.ledger)
    elif all(signer.is_recorder for signer in trusted):
        raise OwnKeyOnly(
            "only the recorder's own key checked, and it never counts",
            expected="a trusted key of somebody who did not record",
            actual=trusted[0].key,
        ).attach(findings)
    _verify_policy(findings, policy)


def _verify_verdict(findings: Findings, ledger: LedgerFindings) -> None:
    """A verdict for a false or malformed run refutes; one for want of blobs or of agreement proves nothing (CRT-37)."""
    if ledger.verdict == REJECTED and ledger.reason in {"differs", "malformed"}:
        raise VerdictRejected(
            "the ledger rejected this run", expected=ACCEPTED, actual=f"{ledger.verdict}: {ledger.reason}"
        ).attach(findings)
    if ledger.verdict != ACCEPTED:
        raise PolicyNotMet(
            "the ledger did not accept this run", expected=ACCEPTED, actual=f"{ledger.verdict}: {ledger.reason}"
        ).attach(findings)


def _verify_policy(findings: Findings, policy: TrustPolicy) -> None:
    if findings.inconclusive:
        raise PolicyNotMet(
            "an interval could not be judged", expected="none", actual=findings.inconclusive[:20]
        ).attach(findings)
    if LEVELS.index(findings.level) < LEVELS.index(policy.minimal_level):
        raise PolicyNotMet("level of evidence is too low", expected=policy.minimal_level, actual=findings.level).attach(
            findings
        )
    if findings.sampled < policy.minimal_share * findings.intervals:
        raise PolicyNotMet(
            "too few intervals were recomputed",
            expected=f"at least {policy.minimal_share} of {findings.intervals}",
            actual=findings.sampled,
            next_step="ask for a larger audit, or accept less: --min-share",
        ).attach(findings)
