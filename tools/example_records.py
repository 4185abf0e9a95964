"""One small record of every kind, for vectors, tests and fuzzing. Nothing in them was ever trained."""

from __future__ import annotations

from assay.protocol import tags
from assay.protocol.encoding import Record, encode, float_to_bits
from assay.protocol.evidence.data import BatchField
from assay.protocol.evidence.model_state import (
    Alias,
    AliasTable,
    TensorRecord,
    compute_model_root,
    compute_rest_root,
    join_roots,
    sort_key,
)
from assay.protocol.evidence.plan import (
    CertifiedStart,
    ClosingRecord,
    DataSet,
    DeclaredStart,
    Evaluation,
    InitialisedStart,
    Limits,
    Metric,
    Plan,
    Profile,
    ProgramUse,
    Setting,
    Start,
    compute_plan_id,
    compute_profile_id,
)
from assay.protocol.evidence.program import (
    STEP,
    Boolean,
    Constant,
    ElementType,
    Integer,
    Keyword,
    Node,
    Nothing,
    Program,
    Real,
    Scalar,
    Sequence,
    StateInput,
    StateOutput,
    TensorType,
    Text,
    Value,
    compute_program_id,
)
from assay.protocol.evidence.transcript import (
    StartLeaf,
    StepLeaf,
    StepParts,
    compute_start_id,
    compute_step_id,
    compute_transcript,
    rebuild_leaf,
)
from assay.protocol.hashing import ZERO, compute_bulk_digest
from assay.protocol.merkle import MerkleRoot, compute_data_root


def make_digest(text: str) -> bytes:
    """Return the digest of a text, 32 bytes that mean nothing else."""
    return compute_bulk_digest(text.encode())


def make_tree(tag: int, leaves: tuple[bytes, ...]) -> MerkleRoot:
    """Return the committed list of some leaves."""
    return MerkleRoot(tag, len(leaves), compute_data_root(tag, leaves))


PROFILE = Profile(
    version=0, kind="pinned", settings=(Setting("cpu", "AVX2"), Setting("threads", "1"), Setting("torch", "2.13.0"))
)

MATRIX, VECTOR, NUMBER = TensorType("f32", (3, 4)), TensorType("f32", (3,)), TensorType("f32", ())

PROGRAM = Program(
    version=0,
    kind=STEP,
    state=(StateInput(0, "0/bias", VECTOR), StateInput(0, "0/weight", MATRIX)),
    batch=(TensorType("f32", (2, 4)),),
    constants=(Constant(TensorType("i64", (1,)), (7).to_bytes(8, "little")),),
    scalars=1,
    nodes=(
        Node("aten.permute.default", (Value(1), Sequence((Integer(1), Integer(0)))), (), (TensorType("f32", (4, 3)),)),
        Node("aten.addmm.default", (Value(0), Value(2), Value(4)), (), (TensorType("f32", (2, 3)),)),
        Node("aten.gelu.default", (Value(5),), (Keyword("approximate", Text("tanh")),), (TensorType("f32", (2, 3)),)),
        Node(
            "aten.sum.dim_IntList",
            (Value(6), Nothing(), Boolean(value=False)),
            (Keyword("dtype", ElementType("f32")),),
            (NUMBER, None),
        ),
        Node("aten.mul.Tensor", (Value(0), Real(float_to_bits(-0.5))), (), (VECTOR,)),
        Node("aten.add.Tensor", (Value(0), Value(9)), (Keyword("alpha", Scalar(0)),), (VECTOR,)),
    ),
    state_outputs=(StateOutput(0, "0/bias", 10),),
    results=(7,),
)

RECORDS = tuple(
    sorted(
        (
            TensorRecord(namespace, name, kind.dtype, kind.shape, size, make_digest(name))
            for namespace, name, kind, size in (
                (0, "0/weight", MATRIX, 48),
                (0, "0/bias", VECTOR, 12),
                (1, "0/mean", VECTOR, 12),
                (2, "0/mask", TensorType("bool", (2, 2)), 4),
                (3, "0/0/weight/momentum_buffer", MATRIX, 48),
            )
        ),
        key=sort_key,
    )
)
ALIASES = AliasTable((Alias("0/head.weight", "0/weight"),))
MODEL_ROOT, REST_ROOT = compute_model_root(RECORDS, ALIASES), compute_rest_root(RECORDS)
STATE_ROOT = join_roots(MODEL_ROOT, REST_ROOT)

DATA = DataSet(make_tree(tags.DATA_TREE, (b"first", b"second", b"third")), make_digest("schema"), 0, salted=False)


def make_plan(start: Start) -> Plan:
    """Return a plan with this start."""
    return Plan(
        version=0,
        start=start,
        data=DATA,
        order_version=1,
        seed=make_digest("seed"),
        seed_origin="submitter",
        key_derivation=0,
        intended_steps=2,
        batch_size=2,
        last_batch="drop",
        collate="default",
        interval_length=200,
        root_period=1,
        profile=compute_profile_id(PROFILE),
        limits=Limits(10**9, 2**30),
        programs=(compute_program_id(PROGRAM),),
    )


PLAN = make_plan(InitialisedStart(make_digest("initialiser")))
CERTIFIED_PLAN = make_plan(CertifiedStart(make_digest("certificate"), MODEL_ROOT))
DECLARED_PLAN = make_plan(DeclaredStart(STATE_ROOT))

START_LEAF = StartLeaf(0, compute_plan_id(PLAN), b"", make_digest("start"))


def _make_steps() -> tuple[tuple[StepParts, ...], tuple[StepLeaf, ...]]:
    parts: list[StepParts] = []
    leaves: list[StepLeaf] = []
    previous, row = compute_start_id(START_LEAF), b"\0\0\0\0\0\0\xe0\x3f"
    for step in (1, 2):
        kept = StepParts(
            step=step,
            program=0,
            state_root=STATE_ROOT,
            membership=make_digest(f"membership {step}"),
            content=make_digest(f"content {step}"),
            scalars=row if step == 1 else None,
            loss=(bytes(4),),
            loss_root=compute_data_root(
                tags.LOSS_TREE, (encode(BatchField(0, "f32", (), compute_bulk_digest(bytes(4)))),)
            ),
            events=b"",
            leaf=b"",
        )
        leaf = rebuild_leaf(kept, compute_program_id(PROGRAM), previous, row)
        previous = compute_step_id(leaf)
        leaves.append(leaf)
        parts.append(StepParts(*(previous if f == "leaf" else getattr(kept, f) for f in StepParts.__struct_fields__)))
    return tuple(parts), tuple(leaves)


STEP_PARTS, STEP_LEAVES = _make_steps()
TRANSCRIPT = compute_transcript([compute_start_id(START_LEAF), *map(compute_step_id, STEP_LEAVES)])

CLOSING_RECORD = ClosingRecord(
    version=0,
    plan=compute_plan_id(PLAN),
    steps=2,
    transcript=TRANSCRIPT,
    programs=(
        ProgramUse(compute_program_id(PROGRAM), 1, make_digest("answer")),
        ProgramUse(make_digest("initialiser"), 0, ZERO),
        ProgramUse(make_digest("inference"), 0, ZERO),
    ),
    scalars=make_tree(tags.SCALARS_TABLE, tuple(leaf.scalars for leaf in STEP_LEAVES)),
    evaluations=(Evaluation(2, make_digest("inference"), DATA, 2, (Metric("accuracy", float_to_bits(2.0), 3),)),),
    events=make_tree(tags.EVENTS_TREE, ()),
    final_state=STATE_ROOT,
    model_root=MODEL_ROOT,
    reason="completed",
)

EXAMPLES: dict[str, Record] = {
    "profile": PROFILE,
    "program": PROGRAM,
    "plan, initialised": PLAN,
    "plan, certified": CERTIFIED_PLAN,
    "plan, declared": DECLARED_PLAN,
    "tensor record": RECORDS[0],
    "alias table": ALIASES,
    "start leaf": START_LEAF,
    "step leaf": STEP_LEAVES[0],
    "step parts": STEP_PARTS[0],
    "step parts, row as before": STEP_PARTS[1],
    "closing record": CLOSING_RECORD,
}
"""All of them by name."""
