"""Building a certificate from the evidence of a run and the findings of an audit.

Source: `spec/certificate.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec
from msgspec import UNSET

from assay.certificate.consistency import START_KINDS, derive_evaluation, derive_event
from assay.certificate.dsse import MAX_BYTES, PAYLOAD_TYPE, compute_pae, encode_base64, encode_json, seal_envelope
from assay.certificate.interval_findings import (
    NO_CHANCE,
    compute_chances,
    compute_interval_count,
    compute_level,
    count_sampled,
    summarise_findings,
)
from assay.certificate.json_forms import LedgerClaim
from assay.certificate.rejections import MalformedCertificate
from assay.certificate.statement import (
    MODEL_ROOT_DIGEST,
    NOT_COMPUTED,
    PREDICATE_FAMILY,
    STATEMENT_TYPE,
    VERSION,
    AliasClaim,
    Checker,
    EvaluationClaim,
    FindingClaim,
    LeafProof,
    ModelClaim,
    ModelFile,
    Predicate,
    ProgramSummary,
    Recorder,
    Roots,
    ScalarsClaim,
    ScalarSummary,
    SeedClaim,
    StartClaim,
    Statement,
    Subject,
    build_document,
)
from assay.protocol import tags
from assay.protocol.encoding import Record, encode
from assay.protocol.evidence.edits import Edit
from assay.protocol.evidence.events import Event
from assay.protocol.evidence.model_state import MODEL_NAMESPACES, PARAM, AliasTable, TensorRecord
from assay.protocol.evidence.plan import (
    ClosingRecord,
    Plan,
    Profile,
    compute_closing_id,
    compute_plan_id,
    compute_profile_id,
)
from assay.protocol.evidence.transcript import StartLeaf, StepLeaf
from assay.protocol.merkle import compute_path, hash_leaf
from assay.protocol.signatures import get_public_key, sign


class RunEvidence(msgspec.Struct, frozen=True):
    """What the recorder leaves: everything that a certificate takes from the run itself.

    Args:
        plan: the plan.
        closing: the closing record.
        profile: the profile that the plan names.
        recorder_key: public key of the recorder, 32 bytes.
        recorder_signature: `recorder_signature.sign_run`, 64 bytes.
        leaf_ids: ids of all leaves of the transcript, leaf_0 first; `closing.steps + 1` of them.
        first_leaf: leaf_0.
        last_leaf: the leaf of the last step.
        rest_root: the half of the final state root that is not the model.
        tensors: the records of the model in the final state; others are ignored.
        aliases: the alias table of the model.
        files: exported model files.
        events: declared events, in order, each with its edit if it is one.
    """

    plan: Plan
    closing: ClosingRecord
    profile: Profile
    recorder_key: bytes
    recorder_signature: bytes
    leaf_ids: Sequence[bytes]
    first_leaf: StartLeaf
    last_leaf: StepLeaf
    rest_root: bytes
    tensors: Sequence[TensorRecord]
    aliases: AliasTable
    files: Sequence[ModelFile]
    events: Sequence[tuple[Event, Edit | None]] = ()


class EvaluationCheck(msgspec.Struct, frozen=True):
    """What was found about an evaluation of the closing record.

    Args:
        recomputed: it was recomputed and matches.
        overlap: samples that are in the training set too.
        differs: it was recomputed and differs.
    """

    recomputed: bool
    overlap: int | None = None
    differs: bool = False


class AuditEvidence(msgspec.Struct, frozen=True):
    """What the audit found.

    Args:
        findings: recomputed intervals, in any order.
        replays: how often each of them was replayed.
        start_recomputed: whether the initialiser was run again and gave the start.
        start_differs: whether it was run again and gave another start.
        programs: summaries, in the order of the closing record.
        scalars: summaries of the rates.
        differing_rows: rows that no settings of the optimizers explain; None: not computed.
        evaluations: one check for each evaluation of the closing record.
    """

    findings: Sequence[FindingClaim]
    replays: int
    start_recomputed: bool
    programs: Sequence[ProgramSummary]
    scalars: Sequence[ScalarSummary] = ()
    differing_rows: int | None = None
    evaluations: Sequence[EvaluationCheck] = ()
    start_differs: bool = False


def build_statement(
    run: RunEvidence, audit: AuditEvidence, checkers: Iterable[bytes], ledger: LedgerClaim | None = None
) -> bytes:
    """Return the canonical bytes of the Statement.

    Args:
        run: the evidence of the run.
        audit: the findings.
        checkers: public keys of whoever is going to sign, 32 bytes each; exactly these must. None where a ledger
            checked: then its `issuer` signs.
        ledger: the evidence of a ledger, or None: checked alone.

    Raises:
        MalformedCertificate: more than 8 MiB, or more findings that differ than can be listed.
    """
    predicate = _build_predicate(run, audit, sorted(set(checkers)), ledger)
    subject = [Subject("model", {MODEL_ROOT_DIGEST: predicate.roots.model})]
    subject += [Subject(file.name, {"sha256": file.sha256}) for file in run.files]
    return encode_json(Statement(STATEMENT_TYPE, subject, f"{PREDICATE_FAMILY}{VERSION}", predicate))


def build_certificate(run: RunEvidence, audit: AuditEvidence, seeds: Iterable[bytes]) -> bytes:
    """Return a certificate, signed by the keys with these 32-byte seeds.

    Raises:
        MalformedCertificate: more than 8 MiB, or more findings that differ than can be listed.
    """
    keys = {get_public_key(seed): seed for seed in seeds}
    payload = build_statement(run, audit, keys)
    message = compute_pae(PAYLOAD_TYPE, payload)
    return _seal(payload, {key: sign(seed, message) for key, seed in keys.items()})


def build_ledger_certificate(run: RunEvidence, audit: AuditEvidence, ledger: LedgerClaim, seed: bytes) -> bytes:
    """Return a certificate whose findings are those of a ledger, signed by its issuer, whose seed this is.

    Raises:
        MalformedCertificate: more than 8 MiB, or more findings that differ than can be listed.
    """
    payload = build_statement(run, audit, (), ledger)
    return _seal(payload, {get_public_key(seed): sign(seed, compute_pae(PAYLOAD_TYPE, payload))})


def _seal(payload: bytes, signatures: dict[bytes, bytes]) -> bytes:
    data = seal_envelope(payload, signatures)
    if len(data) > MAX_BYTES:
        raise MalformedCertificate(
            "the certificate is too large", expected=f"at most {MAX_BYTES} bytes", actual=len(data)
        )
    return data


def _build_predicate(
    run: RunEvidence, audit: AuditEvidence, checkers: Sequence[bytes], ledger: LedgerClaim | None
) -> Predicate:
    plan, closing = run.plan, run.closing
    intervals, sampled = compute_interval_count(plan, closing), count_sampled(audit.findings)
    profile = compute_profile_id(run.profile)
    corrupt = NO_CHANCE if ledger is None else Fraction(ledger.corrupt.fraction)
    return Predicate(
        spec_version=VERSION,
        level=compute_level(len(audit.findings), len(closing.programs)),
        plan=build_document(compute_plan_id(plan), plan),
        closing=build_document(compute_closing_id(closing), closing),
        profile=build_document(profile, run.profile),
        recorder=Recorder(run.recorder_key.hex(), encode_base64(run.recorder_signature)),
        template="none",
        start=StartClaim(
            kind=START_KINDS[type(plan.start)],
            root=run.first_leaf.start_root.hex(),
            check="differs" if audit.start_differs else "recomputed" if audit.start_recomputed else "not recomputed",
        ),
        seed=SeedClaim(plan.seed_origin, "0"),
        roots=_build_roots(run),
        model=_build_model(run),
        programs=list(audit.programs),
        scalars=ScalarsClaim(
            list(audit.scalars), NOT_COMPUTED if audit.differing_rows is None else str(audit.differing_rows)
        ),
        intervals=intervals,
        sampled=sampled,
        findings=summarise_findings(audit.findings),
        chances=compute_chances(intervals, sampled, corrupt),
        evaluations=_build_evaluations(closing, audit),
        checkers=[Checker(key.hex(), profile.hex(), audit.replays) for key in checkers],
        events=[derive_event(event, edit) for event, edit in run.events],
        ledger=UNSET if ledger is None else ledger,
    )


def _build_roots(run: RunEvidence) -> Roots:
    closing = run.closing
    hashes = [hash_leaf(tags.TRANSCRIPT_TREE, leaf) for leaf in run.leaf_ids]

    def prove(leaf: Record, index: int) -> LeafProof:
        path = compute_path(tags.TRANSCRIPT_TREE, hashes, index)
        return LeafProof(encode_base64(encode(leaf)), [step.hex() for step in path])

    return Roots(
        transcript=closing.transcript.root.hex(),
        final_state=closing.final_state.hex(),
        model=closing.model_root.hex(),
        rest=run.rest_root.hex(),
        first_leaf=prove(run.first_leaf, 0),
        last_leaf=prove(run.last_leaf, closing.steps),
    )


def _build_model(run: RunEvidence) -> ModelClaim:
    names: tuple[list[str], list[str]] = ([], [])
    for record in run.tensors:
        if record.namespace in MODEL_NAMESPACES:
            names[0 if record.namespace == PARAM else 1].append(record.name)
    return ModelClaim(
        parameters=sorted(names[0], key=str.encode),
        buffers=sorted(names[1], key=str.encode),
        aliases=[AliasClaim(alias.name, alias.target) for alias in run.aliases.aliases],
        files=list(run.files),
    )


def _build_evaluations(closing: ClosingRecord, audit: AuditEvidence) -> list[EvaluationClaim]:
    checks = audit.evaluations or [EvaluationCheck(recomputed=False)] * len(closing.evaluations)
    return [
        derive_evaluation(
            evaluation,
            "differs" if check.differs else "recomputed" if check.recomputed else "declared",
            NOT_COMPUTED if check.overlap is None else str(check.overlap),
        )
        for evaluation, check in zip(closing.evaluations, checks, strict=True)
    ]
