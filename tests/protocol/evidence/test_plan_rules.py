import msgspec
import pytest

from assay.errors import VerificationError
from assay.protocol import tags
from assay.protocol.evidence.plan import (
    CertifiedStart,
    DeclaredStart,
    InitialisedStart,
    Limits,
    Metric,
    Plan,
    ProgramUse,
    Setting,
    compute_plan_id,
)
from assay.protocol.evidence.plan_rules import verify_closing_record, verify_plan, verify_profile
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot
from tools.example_records import CERTIFIED_PLAN, CLOSING_RECORD, DATA, DECLARED_PLAN, PLAN, PROFILE, make_tree

DIGEST = b"d" * 32


def change(record, **fields):
    """Return the record with other fields."""
    return msgspec.structs.replace(record, **fields)


def find_code(check, *arguments):
    """Return the code of the refusal, or None."""
    try:
        check(*arguments)
    except VerificationError as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize("plan", [PLAN, CERTIFIED_PLAN, DECLARED_PLAN], ids=["initialised", "certified", "declared"])
def test_plans_hold(plan):
    """PLN-3: a plan with each kind of start holds."""
    assert find_code(verify_plan, plan) is None


def test_profile_and_closing_record_hold():
    """PLN-2, PLN-11: the examples hold."""
    assert find_code(verify_profile, PROFILE) is None
    assert find_code(verify_closing_record, PLAN, CLOSING_RECORD) is None


PROFILES = {
    "PLN-2 another version": (change(PROFILE, version=1), "field.version"),
    "PLN-2 an unknown kind": (change(PROFILE, kind="fast"), "field.choice"),
    "PLN-2 an empty name": (change(PROFILE, settings=(Setting("", "1"),)), "field.text"),
    "PLN-2 a line break": (change(PROFILE, settings=(Setting("a", "1\n"),)), "field.text"),
    "PLN-2 a value of 4097": (change(PROFILE, settings=(Setting("a", "1" * 4097),)), "field.text"),
    "PLN-2 out of order": (change(PROFILE, settings=PROFILE.settings[::-1]), "field.order"),
    "PLN-2 a setting twice": (change(PROFILE, settings=(Setting("a", "1"), Setting("a", "2"))), "field.order"),
    "PLN-2 257 settings": (
        change(PROFILE, settings=tuple(Setting(f"{i:03}", "") for i in range(257))), "plan.list-too-long",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_refused_profiles(name):
    """Each broken rule of a profile is refused with its own code."""
    profile, code = PROFILES[name]
    assert find_code(verify_profile, profile) == code


def with_data(**fields):
    """Return the plan with another data set."""
    return change(PLAN, data=change(DATA, **fields))


PLANS = {
    "PLN-1 another version": (change(PLAN, version=1), "field.version"),
    "PLN-3 a short program id": (change(PLAN, start=InitialisedStart(b"a")), "field.digest-length"),
    "PLN-3 a short certificate": (change(PLAN, start=CertifiedStart(b"", DIGEST)), "field.digest-length"),
    "PLN-3 a long model root": (change(PLAN, start=CertifiedStart(DIGEST, bytes(33))), "field.digest-length"),
    "PLN-3 a short state root": (change(PLAN, start=DeclaredStart(bytes(31))), "field.digest-length"),
    "PLN-4 no leaves": (with_data(leaves=make_tree(tags.DATA_TREE, ())), "field.number-range"),
    "PLN-4 another tree": (with_data(leaves=make_tree(tags.EVENTS_TREE, (b"a",))), "field.tree"),
    "PLN-4 a short root": (with_data(leaves=MerkleRoot(tags.DATA_TREE, 1, b"")), "field.digest-length"),
    "PLN-4 a negative size": (with_data(leaves=MerkleRoot(tags.DATA_TREE, -1, DIGEST)), "field.number-range"),
    "PLN-4 a size of 2**63": (with_data(leaves=MerkleRoot(tags.DATA_TREE, 2**63, DIGEST)), "field.number-range"),
    "PLN-4 a short schema": (with_data(schema=b""), "field.digest-length"),
    "PLN-4 another canonicalisation": (with_data(canonicalisation=1), "field.choice"),
    "PLN-5 another order": (change(PLAN, order_version=2), "field.choice"),
    "PLN-5 another derivation": (change(PLAN, key_derivation=1), "field.choice"),
    "PLN-6 a short seed": (change(PLAN, seed=b"seed"), "field.digest-length"),
    "PLN-6 another origin": (change(PLAN, seed_origin="me"), "plan.seed-origin"),
    "PLN-6 a beacon without height": (change(PLAN, seed_origin="beacon:"), "plan.seed-origin"),
    "PLN-6 a leading zero": (change(PLAN, seed_origin="beacon:01"), "plan.seed-origin"),
    "PLN-6 a line break": (change(PLAN, seed_origin="beacon:1\n"), "plan.seed-origin"),
    "PLN-6 digits of another script": (change(PLAN, seed_origin="beacon:١"), "plan.seed-origin"),
    "PLN-6 a height of 2**63": (change(PLAN, seed_origin=f"beacon:{2**63}"), "plan.seed-origin"),
    "PLN-7 negative steps": (change(PLAN, intended_steps=-1), "field.number-range"),
    "PLN-7 no batch": (change(PLAN, batch_size=0), "field.number-range"),
    "PLN-7 another last batch": (change(PLAN, last_batch="pad"), "field.choice"),
    "PLN-7 another collate": (change(PLAN, collate="mine"), "plan.collation"),
    "PLN-8 no interval": (change(PLAN, interval_length=0), "field.number-range"),
    "PLN-8 no period": (change(PLAN, root_period=0), "field.number-range"),
    "PLN-8 a period of 2**63": (change(PLAN, root_period=2**63), "field.number-range"),
    "PLN-2 a short profile id": (change(PLAN, profile=b""), "field.digest-length"),
    "PLN-9 no FLOPs": (change(PLAN, limits=Limits(0, 1)), "field.number-range"),
    "PLN-9 no bytes": (change(PLAN, limits=Limits(1, 0)), "field.number-range"),
    "PLN-10 a short program": (change(PLAN, programs=(b"a",)), "field.digest-length"),
    "PLN-10 a program twice": (change(PLAN, programs=(DIGEST, DIGEST)), "field.order"),
    "PLN-10 257 programs": (
        change(PLAN, programs=tuple(i.to_bytes(32, "big") for i in range(257))), "plan.list-too-long",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_refused_plans(name):
    """Each broken rule of a plan is refused with its own code."""
    plan, code = PLANS[name]
    assert find_code(verify_plan, plan) == code


@pytest.mark.parametrize("origin", ["submitter", "beacon:0", f"beacon:{2**63 - 1}"])
def test_origins(origin):
    """PLN-6: the submitter and any height are origins of a seed."""
    assert find_code(verify_plan, change(PLAN, seed_origin=origin)) is None


def closing(**fields):
    """Return the closing record with other fields."""
    return change(CLOSING_RECORD, **fields)


def with_evaluation(**fields):
    """Return the closing record with another evaluation."""
    return closing(evaluations=(change(CLOSING_RECORD.evaluations[0], **fields),))


def transcript(size, tag=tags.TRANSCRIPT_TREE):
    """Return a committed list of this size."""
    return MerkleRoot(tag, size, DIGEST)


USES = CLOSING_RECORD.programs
CLOSINGS = {
    "PLN-11 another version": (closing(version=1), "field.version"),
    "PLN-11 a short plan id": (closing(plan=b""), "field.digest-length"),
    "PLN-11 another plan": (closing(plan=compute_plan_id(DECLARED_PLAN)), "closing.plan"),
    "PLN-12 another tree": (closing(transcript=transcript(3, tags.EVENTS_TREE)), "field.tree"),
    "PLN-12 leaves missing": (closing(transcript=transcript(2)), "closing.steps"),
    "PLN-12 leaves too many": (closing(transcript=transcript(4)), "closing.steps"),
    "PLN-12 negative steps": (closing(steps=-1, transcript=transcript(0)), "field.number-range"),
    "PLN-12 more steps than intended": (closing(steps=3, transcript=transcript(4)), "closing.steps"),
    "PLN-12 fewer steps and completed": (closing(steps=1, transcript=transcript(2)), "closing.steps"),
    "PLN-12 another reason": (closing(reason="bored"), "field.choice"),
    "PLN-13 a program twice": (closing(programs=(USES[0], USES[0])), "field.order"),
    "PLN-13 a short program": (closing(programs=(ProgramUse(b"", 0, ZERO),)), "field.digest-length"),
    "PLN-13 a step after the end": (closing(programs=(ProgramUse(DIGEST, 3, ZERO),)), "field.number-range"),
    "PLN-13 a short answer": (closing(programs=(ProgramUse(DIGEST, 1, b""),)), "field.digest-length"),
    "PLN-14 more rows than steps": (closing(scalars=MerkleRoot(tags.SCALARS_TABLE, 3, DIGEST)), "closing.steps"),
    "PLN-14 fewer rows than steps": (closing(scalars=MerkleRoot(tags.SCALARS_TABLE, 1, DIGEST)), "closing.steps"),
    "PLN-14 another table": (closing(scalars=MerkleRoot(tags.EVENTS_TREE, 1, DIGEST)), "field.tree"),
    "PLN-14 an empty list with a root": (closing(events=MerkleRoot(tags.EVENTS_TREE, 0, DIGEST)), "field.tree"),
    "PLN-14 a short state root": (closing(final_state=b""), "field.digest-length"),
    "PLN-14 a short model root": (closing(model_root=b""), "field.digest-length"),
    "PLN-15 after the end": (with_evaluation(step=3), "field.number-range"),
    "PLN-15 an unlisted program": (with_evaluation(program=DIGEST), "closing.program-missing"),
    "PLN-15 no batch": (with_evaluation(batch_size=0), "field.number-range"),
    "PLN-15 another data set": (with_evaluation(data=change(DATA, schema=b"")), "field.digest-length"),
    "PLN-15 4097 evaluations": (closing(evaluations=CLOSING_RECORD.evaluations * 4097), "plan.list-too-long"),
    "PLN-16 bits of 2**64": (with_evaluation(metrics=(Metric("a", 2**64, 1),)), "field.number-range"),
    "PLN-16 a negative count": (with_evaluation(metrics=(Metric("a", 0, -1),)), "field.number-range"),
    "PLN-16 no name": (with_evaluation(metrics=(Metric("", 0, 1),)), "field.text"),
    "PLN-16 out of order": (with_evaluation(metrics=(Metric("b", 0, 1), Metric("a", 0, 1))), "field.order"),
    "PLN-16 too many": (with_evaluation(metrics=(Metric("b", 0, 1),) * 65537), "plan.list-too-long"),
}


@pytest.mark.parametrize("name", CLOSINGS)
def test_refused_closing_records(name):
    """Each broken rule of a closing record is refused with its own code."""
    record, code = CLOSINGS[name]
    assert find_code(verify_closing_record, PLAN, record) == code


@pytest.mark.parametrize(
    ("steps", "intended", "reason"), [(1, 2, "early-stop"), (0, 2, "interrupted"), (9, 0, "completed")]
)
def test_other_ends_hold(steps, intended, reason):
    """PLN-12: an early end with its reason holds, and so does any number of steps where none was intended."""
    plan = change(PLAN, intended_steps=intended)
    record = closing(
        plan=compute_plan_id(plan),
        steps=steps,
        reason=reason,
        transcript=transcript(steps + 1),
        programs=(ProgramUse(DIGEST, 0, ZERO),),
        evaluations=(),
        scalars=make_tree(tags.SCALARS_TABLE, (DIGEST,) * steps),
    )
    assert find_code(verify_closing_record, plan, record) is None


def test_every_field_of_a_plan_is_in_its_id():
    """PLN-1: no two of the plans above share an id."""
    plans: list[Plan] = [PLAN, *(plan for plan, _ in PLANS.values() if plan.batch_size < 2**64)]
    assert len({compute_plan_id(plan) for plan in plans}) == len(plans)
