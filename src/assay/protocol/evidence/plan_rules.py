"""What a plan, its profile and its closing record must satisfy.

Source: `spec/plan.md`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from assay.errors import MalformedEvidence, Refuted
from assay.protocol import tags
from assay.protocol.evidence.collation import parse_collation
from assay.protocol.evidence.fields import (
    MAX_BITS,
    MAX_INTEGER,
    OrderRefused,
    verify_choice,
    verify_digest,
    verify_number,
    verify_printable,
    verify_sorted,
    verify_tree,
    verify_version,
)
from assay.protocol.evidence.plan import (
    CertifiedStart,
    ClosingRecord,
    DataSet,
    DeclaredStart,
    Evaluation,
    InitialisedStart,
    Plan,
    Profile,
    Start,
    compute_plan_id,
)

MAX_SETTINGS: Final = 256
MAX_SETTING: Final = 4096
MAX_PROGRAMS: Final = 256
MAX_EVALUATIONS: Final = 4096
MAX_METRICS: Final = 65536

ORDERS: Final = (0, 1)
"""Order functions: 0 sequential, 1 shuffle."""

KEY_DERIVATIONS: Final = (0,)
CANONICALISATIONS: Final = (0,)
LAST_BATCHES: Final = ("keep", "drop")
PROFILE_KINDS: Final = ("pinned",)
REASONS: Final = ("completed", "early-stop", "interrupted")

_BEACON: Final = re.compile(r"beacon:(0|[1-9][0-9]{0,18})")


class SeedOriginUnknown(MalformedEvidence):
    """An origin of the seed that is neither the submitter nor the beacon of a height."""

    code: ClassVar[str] = "plan.seed-origin"


class ListTooLong(MalformedEvidence):
    """More settings, programs, evaluations or metrics than permitted."""

    code: ClassVar[str] = "plan.list-too-long"


class PlanDiffers(Refuted):
    """A closing record that names another plan than the one beside it."""

    code: ClassVar[str] = "closing.plan"


class StepsContradicted(MalformedEvidence):
    """A closing record whose steps do not fit the plan, its own transcript or its reason."""

    code: ClassVar[str] = "closing.steps"


class ProgramMissing(MalformedEvidence):
    """A program that is used and not in the list of programs."""

    code: ClassVar[str] = "closing.program-missing"


def verify_profile(profile: Profile) -> None:
    """Check a profile (PLN-2): known kind, settings sorted by unique names, all of it printable ASCII.

    Raises:
        MalformedEvidence: one of the classes of this file or of `fields`.
    """
    verify_version(profile.version, "profile")
    verify_choice(profile.kind, PROFILE_KINDS, "kind of profile")
    _verify_length(profile.settings, MAX_SETTINGS, "settings")
    for setting in profile.settings:
        verify_printable(setting.name, "name of a setting", MAX_SETTING, 1)
        verify_printable(setting.value, f"setting {setting.name}", MAX_SETTING)
    verify_sorted([setting.name.encode() for setting in profile.settings], "list of settings")


def verify_plan(plan: Plan) -> None:
    """Check a plan by itself (PLN-3 to PLN-10).

    Raises:
        MalformedEvidence: one of the classes of this file or of `fields`.
    """
    verify_version(plan.version, "plan")
    _verify_start(plan.start)
    _verify_data(plan.data, "data set")
    verify_choice(plan.order_version, ORDERS, "order function")  # PLN-5
    verify_digest(plan.seed, "seed")
    _verify_seed_origin(plan.seed_origin)
    verify_choice(plan.key_derivation, KEY_DERIVATIONS, "key derivation")
    verify_number(plan.intended_steps, "number of intended steps")  # PLN-7
    verify_number(plan.batch_size, "batch size", 1)
    verify_choice(plan.last_batch, LAST_BATCHES, "rule for the last batch")
    parse_collation(plan.collate)
    verify_number(plan.interval_length, "interval length", 1)  # PLN-8
    verify_number(plan.root_period, "root period", 1)
    verify_digest(plan.profile, "profile id")
    verify_number(plan.limits.flops, "limit of FLOPs", 1)  # PLN-9
    verify_number(plan.limits.peak_bytes, "limit of peak bytes", 1)
    _verify_programs(plan.programs)


def verify_closing_record(plan: Plan, closing: ClosingRecord) -> None:
    """Check a closing record against its plan (PLN-11 to PLN-16); `plan` has passed `verify_plan`.

    Raises:
        MalformedEvidence: one of the classes of this file or of `fields`.
        PlanDiffers: the closing record belongs to another plan.
    """
    verify_version(closing.version, "closing record")
    verify_digest(closing.plan, "plan id")
    if closing.plan != compute_plan_id(plan):  # PLN-11
        raise PlanDiffers(
            "the closing record belongs to another plan",
            expected=compute_plan_id(plan).hex(),
            actual=closing.plan.hex(),
        )
    _verify_steps(plan, closing)
    _verify_programs(tuple(use.program for use in closing.programs))  # PLN-13
    for use in closing.programs:
        verify_number(use.first_step, "first step of a program", 0, closing.steps)
        verify_digest(use.known_answer, "known answer of a program")
    verify_tree(closing.scalars, tags.SCALARS_TABLE, "scalars table")  # PLN-14
    if closing.scalars.size != closing.steps:
        raise StepsContradicted("not one scalars row a step", expected=closing.steps, actual=closing.scalars.size)
    verify_tree(closing.events, tags.EVENTS_TREE, "list of events")
    verify_digest(closing.final_state, "final state root")
    verify_digest(closing.model_root, "model root")
    _verify_length(closing.evaluations, MAX_EVALUATIONS, "evaluations")
    programs = frozenset(use.program for use in closing.programs)
    for evaluation in closing.evaluations:
        _verify_evaluation(evaluation, closing.steps, programs)


def _verify_length(entries: tuple[object, ...], most: int, what: str) -> None:
    if len(entries) > most:
        raise ListTooLong(f"too many {what}", expected=f"at most {most}", actual=len(entries))


def _verify_start(start: Start) -> None:
    # PLN-3.
    match start:
        case InitialisedStart(program):
            verify_digest(program, "id of the initialiser")
        case CertifiedStart(certificate, model_root):
            verify_digest(certificate, "digest of the parent certificate")
            verify_digest(model_root, "model root of the parent certificate")
        case DeclaredStart(state_root):
            verify_digest(state_root, "declared state root")


def _verify_data(data: DataSet, what: str) -> None:
    # PLN-4.
    verify_tree(data.leaves, tags.DATA_TREE, what, least=1)
    verify_digest(data.schema, f"schema of the {what}")
    verify_choice(data.canonicalisation, CANONICALISATIONS, f"canonicalisation of the {what}")


def _verify_seed_origin(origin: str) -> None:
    # PLN-6.
    if origin == "submitter":
        return
    height = _BEACON.fullmatch(origin)
    if height is None or int(height[1]) > MAX_INTEGER:
        raise SeedOriginUnknown(
            "unknown origin of the seed", expected="submitter or beacon:<height>", actual=ascii(origin[:80])
        )


def _verify_programs(programs: tuple[bytes, ...]) -> None:
    # PLN-10: their order is their numbering, so they are unique and not sorted.
    _verify_length(programs, MAX_PROGRAMS, "programs")
    for program in programs:
        verify_digest(program, "program id")
    if len(frozenset(programs)) != len(programs):
        raise OrderRefused("list of programs holds an entry twice")


def _verify_steps(plan: Plan, closing: ClosingRecord) -> None:
    # PLN-12.
    verify_number(closing.steps, "number of steps", 0, MAX_INTEGER - 1)
    verify_choice(closing.reason, REASONS, "reason of the end")
    verify_tree(closing.transcript, tags.TRANSCRIPT_TREE, "transcript")
    if closing.transcript.size != closing.steps + 1:
        raise StepsContradicted(
            "the transcript has another number of leaves", expected=closing.steps + 1, actual=closing.transcript.size
        )
    intended = plan.intended_steps
    if intended and (closing.steps > intended or (closing.reason == "completed" and closing.steps != intended)):
        raise StepsContradicted("the steps contradict the plan", expected=intended, actual=closing.steps)


def _verify_evaluation(evaluation: Evaluation, steps: int, programs: frozenset[bytes]) -> None:
    # PLN-15, PLN-16.
    verify_number(evaluation.step, "step of an evaluation", 0, steps)
    verify_digest(evaluation.program, "program of an evaluation")
    if evaluation.program not in programs:
        raise ProgramMissing("an evaluation uses a program that is not listed", actual=evaluation.program.hex())
    _verify_data(evaluation.data, "test set")
    verify_number(evaluation.batch_size, "batch size of an evaluation", 1)
    _verify_length(evaluation.metrics, MAX_METRICS, "metrics")
    for metric in evaluation.metrics:
        verify_printable(metric.name, "name of a metric", 256, 1)
        verify_number(metric.value, f"metric {metric.name}", 0, MAX_BITS)
        verify_number(metric.count, f"count of metric {metric.name}")
    verify_sorted([metric.name.encode() for metric in evaluation.metrics], "list of metrics")
