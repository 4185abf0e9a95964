"""A small honest run and its certificate, in parts that a test can change."""

import struct
from fractions import Fraction
from hashlib import sha256

import msgspec

from assay.certificate.build import AuditEvidence, EvaluationCheck, RunEvidence, build_certificate
from assay.certificate.dsse import PAYLOAD_TYPE, compute_pae, encode_json, open_envelope, seal_envelope
from assay.certificate.model_file import TensorSpec, get_file_name, write_model
from assay.certificate.policy import TrustPolicy
from assay.certificate.statement import (
    ConstantSummary,
    FindingClaim,
    ModelFile,
    ProgramSummary,
    ScalarSummary,
)
from assay.protocol import tags
from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence.edits import build_edit
from assay.protocol.evidence.events import commit_events
from assay.protocol.evidence.model_state import (
    BUFFER,
    PARAM,
    SLOT,
    Alias,
    AliasTable,
    TensorRecord,
    compute_model_root,
    compute_rest_root,
    compute_state_root,
)
from assay.protocol.evidence.plan import (
    ClosingRecord,
    DataSet,
    Evaluation,
    InitialisedStart,
    Limits,
    Metric,
    Plan,
    Profile,
    ProgramUse,
    Setting,
    compute_plan_id,
    compute_profile_id,
)
from assay.protocol.evidence.recorder_signature import sign_run
from assay.protocol.evidence.transcript import StartLeaf, StepLeaf, compute_start_id, compute_step_id
from assay.protocol.hashing import ZERO, compute_bulk_digest
from assay.protocol.merkle import MerkleRoot, compute_data_root
from assay.protocol.signatures import get_public_key, sign

RECORDER = sha256(b"recorder").digest()
AUDITOR = sha256(b"auditor").digest()
STRANGER = sha256(b"stranger").digest()

STEP, INITIALISER, INFERENCE = (sha256(name).digest() for name in (b"step", b"initialiser", b"inference"))

WEIGHTS = {
    "0/embed.weight": (PARAM, "f32", (3, 2), struct.pack("<6f", *range(6))),
    "0/norm.running": (BUFFER, "f32", (2,), struct.pack("<2f", 0.5, 1.5)),
    "0/norm.seen": (BUFFER, "i64", (), struct.pack("<q", 8)),
    "0/out.bias": (PARAM, "f32", (3,), struct.pack("<3f", -1.0, 0.0, 1.0)),
}
ALIASES = AliasTable((Alias("0/out.weight", "0/embed.weight"),))


def digest(text):
    """Return 32 bytes that stand for something."""
    return sha256(text.encode()).digest()


def make_records(weights, step):
    """Return the records of a state, sorted: the model, and one optimizer slot that changes with each step."""
    entries = {**weights, "0/out.bias/momentum": (SLOT, "f32", (3,), struct.pack("<3f", step, step, step))}
    records = [
        TensorRecord(space, name, dtype, shape, len(data), compute_bulk_digest(data))
        for name, (space, dtype, shape, data) in entries.items()
    ]
    return sorted(records, key=lambda record: (record.namespace, record.name.encode()))


def make_model_file(weights=WEIGHTS):
    """Return the bytes of the model file."""
    parts, names = [], {get_file_name(name, weights): name for name in weights}
    specs = [TensorSpec(short, *weights[name][1:3]) for short, name in names.items()]
    write_model(lambda data: parts.append(bytes(data)), specs, lambda short: weights[names[short]][3])
    return b"".join(parts)


def make_data_set(name, size):
    """Return a committed data set."""
    return DataSet(MerkleRoot(tags.DATA_TREE, size, digest(name)), digest(name + " schema"), 0, salted=False)


PROFILE = Profile(0, "pinned", (Setting("threads", "1"), Setting("torch", "2.13.0")))


def make_plan(**changes):
    """Return the plan of a run of 20 steps in intervals of 4."""
    plan = Plan(
        version=0,
        start=InitialisedStart(INITIALISER),
        data=make_data_set("train", 160),
        order_version=1,
        seed=bytes(32),
        seed_origin="submitter",
        key_derivation=0,
        intended_steps=20,
        batch_size=8,
        last_batch="keep",
        collate="default",
        interval_length=4,
        root_period=1,
        profile=compute_profile_id(PROFILE),
        limits=Limits(2**60, 2**40),
        programs=(INITIALISER, STEP),
    )
    return msgspec.structs.replace(plan, **changes)


EDIT = build_edit([r for r in make_records(WEIGHTS, 3) if r.name == "0/out.bias"], float_to_bits(0.25))
"""An edit of one tensor, for events that name it."""


def make_run(plan=None, weights=WEIGHTS, events=(), steps=None, aliases=ALIASES):
    """Return the evidence that the recorder leaves."""
    plan = plan or make_plan()
    steps = steps or plan.intended_steps
    first = StartLeaf(0, compute_plan_id(plan), b"", compute_state_root(make_records(weights, 0), aliases))
    records = make_records(weights, steps)
    ids, leaf = [compute_start_id(first)], None
    for step in range(1, steps + 1):
        root = compute_state_root(records, aliases) if step == steps else digest(f"state {step}")
        rest = (digest("members"), digest("content"), digest("scalars"), digest("loss"), ZERO)
        leaf = StepLeaf(0, step, STEP, ids[-1], root, *rest)
        ids.append(compute_step_id(leaf))
    closing = ClosingRecord(
        version=0,
        plan=compute_plan_id(plan),
        steps=steps,
        transcript=MerkleRoot(tags.TRANSCRIPT_TREE, steps + 1, compute_data_root(tags.TRANSCRIPT_TREE, ids)),
        programs=(
            ProgramUse(INITIALISER, 0, ZERO),
            ProgramUse(STEP, 1, digest("answer")),
            ProgramUse(INFERENCE, 0, digest("answer")),
        ),
        scalars=MerkleRoot(tags.SCALARS_TABLE, steps, digest("table")),
        evaluations=(
            Evaluation(steps, INFERENCE, make_data_set("test", 40), 8, (Metric("accuracy", float_to_bits(0.975), 40),)),
        ),
        events=commit_events(events),
        final_state=compute_state_root(records, aliases),
        model_root=compute_model_root(records, aliases),
        reason="completed",
    )
    file = make_model_file(weights)
    return RunEvidence(
        plan=plan,
        closing=closing,
        profile=PROFILE,
        recorder_key=get_public_key(RECORDER),
        recorder_signature=sign_run(RECORDER, closing),
        leaf_ids=ids,
        first_leaf=first,
        last_leaf=leaf,
        rest_root=compute_rest_root(records),
        tensors=records,
        aliases=aliases,
        files=[ModelFile("model.safetensors", sha256(file).hexdigest(), str(len(file)))],
        events=[(event, EDIT if event.kind == "edit" and any(event.tensors) else None) for event in events],
    )


def change_closing(run, **changes):
    """Return a run with another closing record, signed again by its recorder."""
    closing = msgspec.structs.replace(run.closing, **changes)
    return msgspec.structs.replace(run, closing=closing, recorder_signature=sign_run(RECORDER, closing))


def make_lean_certificate():
    """Return a certificate of one step that holds as little as one can."""
    plan = make_plan(intended_steps=1, interval_length=1, programs=())
    run = make_run(plan, weights={"0/w": (PARAM, "f32", (2,), bytes(8))}, aliases=AliasTable(()))
    run = change_closing(run, evaluations=(), programs=(ProgramUse(STEP, 1, ZERO),))
    programs = [ProgramSummary(STEP.hex(), "step", "1", 31, [], [])]
    audit = make_audit([FindingClaim(0, "all", "matches")], programs=programs, scalars=[], evaluations=[])
    return make_certificate(run, audit)


def make_audit(findings=None, **changes):
    """Return the findings of an audit; all five intervals match unless told otherwise."""
    if findings is None:
        findings = [FindingClaim(number, "all", "matches") for number in range(5)]
    audit = AuditEvidence(
        findings=findings,
        replays=1,
        start_recomputed=True,
        programs=[
            ProgramSummary(INITIALISER.hex(), "initialiser", "0", 4, [], []),
            ProgramSummary(
                STEP.hex(), "step", "1", 31, [ConstantSummary("f32", [2], digest("c").hex())], ["0/norm.seen"]
            ),
            ProgramSummary(INFERENCE.hex(), "inference", "0", 9, [], []),
        ],
        scalars=[ScalarSummary("0/rate", "0.05", "0.1", "0", "0")],
        differing_rows=0,
        evaluations=[EvaluationCheck(recomputed=True, overlap=0)],
    )
    return msgspec.structs.replace(audit, **changes)


def make_certificate(run=None, audit=None, seeds=(AUDITOR,)):
    """Return the bytes of a certificate."""
    return build_certificate(run or make_run(), audit or make_audit(), seeds)


def make_policy(*seeds, **changes):
    """Return a policy that trusts the keys with these seeds."""
    return TrustPolicy({get_public_key(seed): f"key {number}" for number, seed in enumerate(seeds)}, **changes)


TRUSTING = make_policy(AUDITOR)
ANY_SHARE = make_policy(AUDITOR, minimal_share=Fraction(0))


def rewrite(data, change, seeds=(AUDITOR,)):
    """Return a certificate whose payload, as plain values, was changed in place by `change`, and signed again."""
    payload, _ = open_envelope(data)
    values = msgspec.json.decode(payload)
    change(values)
    return resign(encode_json(values), seeds)


def resign(payload, seeds=(AUDITOR,)):
    """Return an envelope around any payload."""
    message = compute_pae(PAYLOAD_TYPE, payload)
    return seal_envelope(payload, {get_public_key(seed): sign(seed, message) for seed in seeds})
