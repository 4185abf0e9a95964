"""Whether what a certificate says follows from what it carries: everything that can be derived is derived again.

Each function is one step of `verify.verify_certificate`, which lists them.

Source: `spec/certificate.md`, CRT-7 to CRT-23.
"""

from __future__ import annotations

from fractions import Fraction

from msgspec import UnsetType

from assay.certificate.dsse import decode_base64, decode_hex, encode_base64
from assay.certificate.interval_findings import (
    NO_CHANCE,
    check_findings,
    compute_chances,
    compute_interval_count,
    compute_level,
    summarise_findings,
)
from assay.certificate.ledger_check import METRICS_CHECK, START_CHECK, LedgerFacts, derive_findings, get_check
from assay.certificate.rejections import ClaimContradicted, MalformedCertificate
from assay.certificate.statement import (
    MODEL_ROOT_DIGEST,
    NOT_COMPUTED,
    Check,
    Document,
    EvaluationClaim,
    EventClaim,
    LeafProof,
    MetricClaim,
    Predicate,
    StartKind,
    Statement,
    open_document,
    render,
    render_bits,
)
from assay.errors import MalformedEvidence, Refuted
from assay.protocol import tags
from assay.protocol.encoding import Record, RecordT, decode, encode
from assay.protocol.evidence.edits import Edit, compute_edit_id, verify_edit
from assay.protocol.evidence.events import Event, verify_event
from assay.protocol.evidence.model_state import Alias, AliasTable, join_roots
from assay.protocol.evidence.plan import (
    CertifiedStart,
    ClosingRecord,
    DeclaredStart,
    Evaluation,
    InitialisedStart,
    Plan,
    Profile,
    compute_closing_id,
    compute_plan_id,
    compute_profile_id,
)
from assay.protocol.evidence.plan_rules import verify_closing_record, verify_plan, verify_profile
from assay.protocol.evidence.recorder_signature import verify_run_signature
from assay.protocol.evidence.transcript import EMPTY_CONTEXT, StartLeaf, StepLeaf, compute_start_id, compute_step_id
from assay.protocol.evidence.transcript_rules import verify_start_leaf, verify_step_leaf
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot, compute_data_root, hash_leaf, verify_inclusion

MAX_NAMES = 200_000
START_KINDS: dict[type, StartKind] = {
    InitialisedStart: "initialised",
    CertifiedStart: "certified",
    DeclaredStart: "declared",
}


def expect(what: str, derived: object, claimed: object) -> None:
    """Compare a claim with what was derived.

    Raises:
        ClaimContradicted: they differ.
    """
    if derived != claimed:
        raise ClaimContradicted(
            f"{what} is not what the certificate's own evidence gives", expected=derived, actual=claimed
        )


def check_documents(predicate: Predicate) -> tuple[Plan, ClosingRecord, Profile]:
    """Open plan, closing record and profile; derive ids and renderings; follow the links (CRT-10, CRT-11)."""
    plan = open_document(predicate.plan, Plan)
    closing = open_document(predicate.closing, ClosingRecord)
    profile = open_document(predicate.profile, Profile)
    verify_profile(profile)
    verify_plan(plan)
    for name, document, record, identifier in (
        ("plan", predicate.plan, plan, compute_plan_id(plan)),
        ("closing record", predicate.closing, closing, compute_closing_id(closing)),
        ("profile", predicate.profile, profile, compute_profile_id(profile)),
    ):
        _check_document(name, document, record, identifier)
    expect("plan of the closing record", compute_plan_id(plan).hex(), closing.plan.hex())
    verify_closing_record(plan, closing)
    expect("profile of the plan", compute_profile_id(profile).hex(), plan.profile.hex())
    expect("origin of the seed", plan.seed_origin, predicate.seed.origin)
    expect("number of registrations", "0", predicate.seed.registrations)
    return plan, closing, profile


def _check_document(name: str, document: Document, record: Record, identifier: bytes) -> None:
    expect(f"id of the {name}", identifier.hex(), document.id)
    if render(record) != document.readable:
        raise ClaimContradicted(f"the readable {name} does not say what its bytes say")


def check_recorder(predicate: Predicate, closing: ClosingRecord) -> bytes:
    """Check the recorder's signature over transcript root and closing record; return its key (CRT-12)."""
    key = decode_hex(predicate.recorder.key, "recorder's key")
    try:
        verify_run_signature(key, closing, decode_base64(predicate.recorder.signature))
    except Refuted:
        raise ClaimContradicted("the recorder's key did not sign this run", expected=key.hex()) from None
    return key


def check_roots(predicate: Predicate, plan: Plan, closing: ClosingRecord, context: bytes = EMPTY_CONTEXT) -> None:
    """Follow the proofs: first leaf → plan, context and start; last leaf → final state → model root (CRT-13)."""
    roots = predicate.roots
    expect("transcript root", closing.transcript.root.hex(), roots.transcript)
    expect("final state root", closing.final_state.hex(), roots.final_state)
    expect("model root", closing.model_root.hex(), roots.model)
    joined = join_roots(closing.model_root, decode_hex(roots.rest, "rest root"))
    expect("final state root", joined.hex(), closing.final_state.hex())
    first = _open_leaf(roots.first_leaf, StartLeaf)
    verify_start_leaf(first)
    _check_inclusion(closing.transcript, compute_start_id(first), 0, roots.first_leaf)
    expect("plan of the first leaf", compute_plan_id(plan).hex(), first.plan.hex())
    expect("context", context, first.context)
    expect("root of the start", first.start_root.hex(), predicate.start.root)
    last = _open_leaf(roots.last_leaf, StepLeaf)
    verify_step_leaf(last)
    _check_inclusion(closing.transcript, compute_step_id(last), closing.steps, roots.last_leaf)
    expect("step of the last leaf", closing.steps, last.step)
    if closing.programs and last.program not in {use.program for use in closing.programs}:
        raise ClaimContradicted("the last step used a program that is not listed", actual=last.program.hex())
    expect("state after the last step", closing.final_state.hex(), last.state_root.hex())


def _open_leaf(proof: LeafProof, kind: type[RecordT]) -> RecordT:
    return decode(decode_base64(proof.leaf), kind)


def _check_inclusion(tree: MerkleRoot, leaf: bytes, index: int, proof: LeafProof) -> None:
    path = [decode_hex(step, "step of a path") for step in proof.path]
    try:
        verify_inclusion(tree, hash_leaf(tree.tag, leaf), index, path)
    except Refuted as finding:
        raise ClaimContradicted(f"leaf {index} is not in the transcript", actual=finding.actual) from None


def check_start(predicate: Predicate, plan: Plan) -> None:
    """Compare the claim about the start with the plan (CRT-14)."""
    claim = predicate.start
    expect("kind of the start", START_KINDS[type(plan.start)], claim.kind)
    if isinstance(plan.start, DeclaredStart):
        expect("declared start", plan.start.state_root.hex(), claim.root)
    if not isinstance(plan.start, InitialisedStart):
        expect("check of a start without initialiser", "not recomputed", claim.check)


def check_level(predicate: Predicate, plan: Plan, closing: ClosingRecord, corrupt: Fraction = NO_CHANCE) -> int:
    """Derive N, level and chances (CRT-15 to CRT-19), and return how many intervals were recomputed."""
    intervals = compute_interval_count(plan, closing)
    expect("number of intervals", intervals, predicate.intervals)
    recomputed = check_findings(predicate.findings, intervals, predicate.sampled)
    expect("level of evidence", compute_level(recomputed, len(closing.programs)), predicate.level)
    expect("chances", compute_chances(intervals, predicate.sampled, corrupt), predicate.chances)
    for checker in predicate.checkers:
        expect("profile of a checker", predicate.profile.id, checker.profile)
        if recomputed and checker.replays < 1:
            raise ClaimContradicted("a checker with findings replayed nothing", expected="1 or more", actual=0)
    return recomputed


def check_programs(predicate: Predicate, closing: ClosingRecord) -> None:
    """Compare the summary of programs with the closing record (CRT-20)."""
    derived = [(use.program.hex(), str(use.first_step)) for use in closing.programs]
    expect("list of programs", derived, [(summary.id, summary.first_step) for summary in predicate.programs])


def check_scalars(predicate: Predicate, closing: ClosingRecord) -> None:
    """Check the form of the summary of scalars: it is an auditor's word, but its numbers are numbers (CRT-20)."""
    counts = [(row.zero_steps, "steps at which a scalar is 0") for row in predicate.scalars.rows]
    counts += [(row.spike_steps, "steps at which a scalar stands out") for row in predicate.scalars.rows]
    if predicate.scalars.differing != NOT_COMPUTED:
        counts.append((predicate.scalars.differing, "rows that differ"))
    for text, what in counts:
        if check_decimal(text, what) > closing.steps:
            raise ClaimContradicted(f"more {what} than steps", expected=f"at most {closing.steps}", actual=text)
    for row in predicate.scalars.rows:
        check_real(row.minimum, "least value of a scalar")
        check_real(row.maximum, "greatest value of a scalar")


def derive_evaluation(evaluation: Evaluation, check: Check, overlap: str) -> EvaluationClaim:
    """Return the claim about an evaluation of the closing record."""
    return EvaluationClaim(
        step=str(evaluation.step),
        program=evaluation.program.hex(),
        data_root=evaluation.data.leaves.root.hex(),
        data_size=str(evaluation.data.leaves.size),
        metrics=[
            MetricClaim(metric.name, render_bits(metric.value), str(metric.count)) for metric in evaluation.metrics
        ],
        check=check,
        overlap=overlap,
    )


def check_evaluations(predicate: Predicate, closing: ClosingRecord) -> None:
    """Compare the evaluations, value by value, with the closing record (CRT-21)."""
    expect("number of evaluations", len(closing.evaluations), len(predicate.evaluations))
    for evaluation, claim in zip(closing.evaluations, predicate.evaluations, strict=True):
        if claim.overlap != NOT_COMPUTED:
            check_decimal(claim.overlap, "overlap")
        expect("evaluation", derive_evaluation(evaluation, claim.check, claim.overlap), claim)


def derive_event(event: Event, edit: Edit | None) -> EventClaim:
    """Return the claim about an event, and about the edit that it names."""
    return EventClaim(
        step=str(event.step),
        kind=event.kind,
        reason=event.reason,
        bytes=encode_base64(encode(event)),
        edit="none" if edit is None else encode_base64(encode(edit)),
        tensors="0" if edit is None else str(edit.tensors.size),
        norm="none" if edit is None else render_bits(edit.norm),
    )


def check_events(predicate: Predicate, closing: ClosingRecord) -> None:
    """Compare the declared events with their bytes, and these with their root in the closing record (CRT-22)."""
    leaves, steps = [], []
    for claim in predicate.events:
        leaves.append(decode_base64(claim.bytes))
        event = decode(leaves[-1], Event)
        verify_event(event)
        edit = None if claim.edit == "none" else decode(decode_base64(claim.edit), Edit)
        if edit is not None:
            verify_edit(edit)
        expect("edit of an event", ZERO if edit is None else compute_edit_id(edit), event.tensors)
        expect("event with an edit", event.kind == "edit", edit is not None)
        expect("event", derive_event(event, edit), claim)
        steps.append(event.step)
    if steps != sorted(steps) or (steps and steps[-1] > closing.steps):
        raise MalformedCertificate("events are not in the order of their steps", expected=f"0 to {closing.steps}")
    expect("number of events", closing.events.size, len(leaves))
    expect("root of the events", compute_data_root(tags.EVENTS_TREE, leaves).hex(), closing.events.root.hex())


def check_subjects(statement: Statement) -> AliasTable:
    """Compare the subjects with the predicate, and return the alias table of the model (CRT-7, CRT-23)."""
    predicate, model = statement.predicate, statement.predicate.model
    derived = [("model", {MODEL_ROOT_DIGEST: predicate.roots.model})]
    for file in model.files:
        decode_hex(file.sha256, "SHA-256 of a file")
        check_decimal(file.size, "size of a file")
        if not file.name.isascii() or not file.name.isprintable() or not 1 <= len(file.name) <= 255:
            raise MalformedCertificate(
                "name of a file", expected="1 to 255 printable characters", actual=ascii(file.name)
            )
        derived.append((file.name, {"sha256": file.sha256}))
    expect("subjects", derived, [(subject.name, subject.digest) for subject in statement.subject])
    if len({name for name, _ in derived}) != len(derived):
        raise MalformedCertificate("two subjects have one name")
    return _check_names(predicate)


def _check_names(predicate: Predicate) -> AliasTable:
    model = predicate.model
    aliases = [alias.name for alias in model.aliases]
    targets = {*model.parameters, *model.buffers}
    if len(targets) + len(aliases) > MAX_NAMES:
        raise MalformedCertificate("too many tensors", expected=MAX_NAMES, actual=len(targets) + len(aliases))
    for names in (model.parameters, model.buffers, aliases):
        if names != sorted(set(names), key=str.encode):
            raise MalformedCertificate("names of tensors are not sorted, or one is twice")
    if len(targets) != len(model.parameters) + len(model.buffers) or targets & set(aliases):
        raise MalformedCertificate("a tensor has two places")
    if not targets.issuperset(alias.target for alias in model.aliases):
        raise MalformedCertificate("an alias names no tensor")
    return AliasTable(tuple(Alias(alias.name, alias.target) for alias in model.aliases))


def check_decimal(text: str, what: str) -> int:
    """Return the number below 2**63 that a decimal string in its one form says (CRT-9).

    Raises:
        MalformedEvidence: anything else.
    """
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or str(int(text)) != text or int(text) >= 2**63:
        raise MalformedCertificate(f"{what} is no decimal number below 2**63", actual=text[:40])
    return int(text)


def check_real(text: str, what: str) -> None:
    """Check that a text is the shortest decimal of a binary64 (CRT-9).

    Raises:
        MalformedCertificate: anything else.
    """
    try:
        shortest = repr(float(text))
    except ValueError:
        shortest = ""
    if shortest != text:
        raise MalformedCertificate(f"{what} is no real in its shortest form", actual=ascii(text[:40]))


def check_signers(statement: Statement, signers: set[bytes]) -> None:
    """Compare the keys that signed with the checkers that the statement names: no signature more, none less (CRT-8).

    Raises:
        MalformedEvidence: they differ, or checkers are not sorted by key.
    """
    ledger = statement.predicate.ledger
    named = [checker.key for checker in statement.predicate.checkers]
    if not isinstance(ledger, UnsetType):  # CRT-33: a ledger checked, and whoever wrote it down signed
        if named:
            raise MalformedEvidence("a certificate of a ledger names no checkers", expected="none", actual=named)
        named = [ledger.issuer]
    if named != sorted(set(named)) or {decode_hex(key, "checker's key") for key in named} != signers:
        raise MalformedEvidence(
            "signatures are not exactly those of the checkers that the statement names",
            expected=sorted(named),
            actual=sorted(key.hex() for key in signers),
        )


def check_submission(predicate: Predicate, closing: ClosingRecord, facts: LedgerFacts) -> None:
    """Compare what the certificate says with what was submitted and judged (CRT-35, CRT-36)."""
    run, start = facts.submission.run, get_check(facts, START_CHECK)
    expect("submitted plan", run.plan.hex(), predicate.plan.id)
    expect("submitted closing record", run.closing.hex(), predicate.closing.id)
    expect("submitted profile", run.profile.hex(), predicate.profile.id)
    expect("submitted transcript", run.transcript, closing.transcript)
    expect("submitted start", run.first.checkpoint.state_root.hex(), predicate.start.root)
    expect("submitted final state", run.last.checkpoint.state_root.hex(), predicate.roots.final_state)
    expect("submitted model", run.model_root.hex(), predicate.roots.model)
    expect("submitted rest", run.rest_root.hex(), predicate.roots.rest)
    expect("submitted number of intervals", facts.submission.intervals, predicate.intervals)
    expect("submitting account", facts.submission.account.hex(), predicate.recorder.key)
    for file in predicate.model.files:
        expect("submitted model file", run.model_file.hex(), file.sha256)
    expect("findings", summarise_findings(derive_findings(facts)), predicate.findings)
    expect("check of the start", start or "not recomputed", predicate.start.check)
    measured = get_check(facts, METRICS_CHECK) or "declared"
    for evaluation in predicate.evaluations:
        expect("check of an evaluation", measured, evaluation.check)
        expect("overlap, which a ledger does not count", NOT_COMPUTED, evaluation.overlap)
