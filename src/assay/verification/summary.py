"""What a run says of itself, for people and programs: read and joined, not recomputed. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from assay.certificate.consistency import START_KINDS
from assay.certificate.statement import ScalarSummary
from assay.errors import AssayError
from assay.protocol.encoding import bits_to_float
from assay.protocol.evidence.order import SEQUENTIAL
from assay.protocol.evidence.plan import Evaluation, InitialisedStart
from assay.storage.run_listing import find_runs, measure_disk
from assay.training.evaluations import EvaluationList
from assay.training.recorded import RecordedRun
from assay.verification.certify import KINDS, summarise_rates
from assay.verification.observation import is_observed, summarise_observed
from assay.verification.structure import verify_records

REPLAYABLE, OBSERVED = "replayable", "observed"


class ListedRun(msgspec.Struct, frozen=True, rename="camel"):
    """One run of a list; `problem` is empty, or why it cannot be read."""

    path: str
    level: str
    steps: int
    intended: int
    finished: bool
    bytes: int
    problem: str = ""


class ShownProgram(msgspec.Struct, frozen=True, rename="camel"):
    """A program of the run; `answered`: whether it carries a known answer."""

    id: str
    kind: str
    first_step: int
    nodes: int
    answered: bool


class ShownEvaluation(msgspec.Struct, frozen=True, rename="camel"):
    """Metrics as the recorder measured them: declared until somebody recomputes them."""

    step: int
    samples: int
    root: str
    metrics: dict[str, float]


class ShownEvent(msgspec.Struct, frozen=True, rename="camel"):
    """What was declared after a step; of an edit, how many tensors it changed and how far it moved them."""

    step: int
    kind: str
    reason: str
    tensors: int
    norm: float


class RunSummary(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that `assay run show` prints.

    Attributes:
        level: of evidence: "replayable", or "observed" before a first program was recorded.
        plan, data, start, profile: name to value.
        rates: extremes of the learning rates.
        checkpoints: steps whose state is stored.
        events: what was declared, in order.
        log_lines: how many lines the user logged; declared.
        certificates: names in the run's `audit/` folder; whoever wrote them is not checked here.
        disk: bytes by part.
        roots: transcript, final state and model of a finished run.
        recorder: public key, or empty.
    """

    path: str
    level: str
    finished: bool
    reason: str
    steps: int
    intended: int
    intervals: int
    plan: dict[str, str | int]
    data: dict[str, str | int | bool]
    start: dict[str, str]
    profile: dict[str, str]
    programs: list[ShownProgram]
    rates: list[ScalarSummary]
    checkpoints: list[int]
    evaluations: list[ShownEvaluation]
    events: list[ShownEvent]
    log_lines: int
    certificates: list[str]
    disk: dict[str, int]
    roots: dict[str, str]
    recorder: str


def list_runs(folder: Path) -> list[ListedRun]:
    """Return the runs below a folder; one that cannot be read is listed with its problem.

    Raises:
        NotAFolder: there is no such folder.
    """
    return [_list_run(path) for path in find_runs(folder)]


def _list_run(path: Path) -> ListedRun:
    size = sum(measure_disk(path).values())
    try:
        if is_observed(path):
            seen = summarise_observed(path)
            return ListedRun(str(path), seen.level, seen.steps, 0, seen.finished, size)
        run = RecordedRun(path)
        try:
            level = REPLAYABLE if run.uses else OBSERVED
            return ListedRun(str(path), level, run.steps, run.plan.intended_steps, run.is_finished, size)
        finally:
            run.close()
    except AssayError as error:
        problem = f"{error.message} ({error.code})"
        return ListedRun(str(path), "unknown", 0, 0, finished=False, bytes=size, problem=problem)


def summarise_run(path: Path) -> RunSummary:
    """Return what a run says of itself, after the quick checks of its structure.

    Raises:
        MalformedEvidence, Refuted, StorageError: the first thing that does not hold.
    """
    run = RecordedRun(path)
    try:
        recorder = verify_records(run)
        closing = run.closing if run.is_finished else None
        programs = [run.read_program(use.program) for use in run.uses]
        evaluations = closing.evaluations if closing else EvaluationList.read(run.directory, run.steps)
        return RunSummary(
            path=str(path),
            level=REPLAYABLE if run.uses else OBSERVED,
            finished=closing is not None,
            reason=closing.reason if closing else "",
            steps=run.steps,
            intended=run.plan.intended_steps,
            intervals=run.intervals,
            plan=_describe_plan(run),
            data=_describe_data(run),
            start=_describe_start(run),
            profile={setting.name: setting.value for setting in run.profile.settings},
            programs=[
                ShownProgram(
                    use.program.hex(), KINDS[program.kind], use.first_step, len(program.nodes), any(use.known_answer)
                )
                for use, program in zip(run.uses, programs, strict=True)
            ],
            rates=summarise_rates(run, programs),
            checkpoints=run.directory.checkpoints.list_steps(),
            evaluations=_describe_evaluations(evaluations),
            events=_describe_events(run),
            log_lines=sum(1 for _ in run.directory.log.iterate()),
            certificates=[name for name in run.directory.list_objects("audit") if name.endswith(".assay.json")],
            disk=measure_disk(run.path),
            roots=_describe_roots(run),
            recorder=recorder.hex() if recorder else "",
        )
    finally:
        run.close()


def _describe_plan(run: RecordedRun) -> dict[str, str | int]:
    plan = run.plan
    return {
        "id": run.plan_id.hex(),
        "seed": plan.seed.hex(),
        "seed origin": plan.seed_origin,
        "order": "sequential" if plan.order_version == SEQUENTIAL else "shuffled from the seed",
        "batch size": plan.batch_size,
        "last batch": plan.last_batch,
        "collate": plan.collate,
        "interval length": plan.interval_length,
        "state root every": plan.root_period,
        "limit of operations a step": plan.limits.flops,
        "limit of bytes a step": plan.limits.peak_bytes,
    }


def _describe_data(run: RecordedRun) -> dict[str, str | int | bool]:
    data = run.plan.data
    return {"samples": data.leaves.size, "root": data.leaves.root.hex(), "salted": data.salted}


def _describe_start(run: RecordedRun) -> dict[str, str]:
    start = run.plan.start
    described = {"kind": START_KINDS[type(start)], "root": run.start.state_root.hex()}
    return described | ({"program": start.program.hex()} if isinstance(start, InitialisedStart) else {})


def _describe_events(run: RecordedRun) -> list[ShownEvent]:
    return [
        ShownEvent(
            one.event.step,
            one.event.kind,
            one.event.reason,
            one.edit.tensors.size if one.edit is not None else 0,
            bits_to_float(one.edit.norm) if one.edit is not None else 0.0,
        )
        for one in run.events
    ]


def _describe_roots(run: RecordedRun) -> dict[str, str]:
    if not run.is_finished:
        return {}
    closing = run.closing
    return {
        "transcript": closing.transcript.root.hex(),
        "final state": closing.final_state.hex(),
        "model": closing.model_root.hex(),
    }


def _describe_evaluations(evaluations: Sequence[Evaluation]) -> list[ShownEvaluation]:
    return [
        ShownEvaluation(
            evaluation.step,
            evaluation.data.leaves.size,
            evaluation.data.leaves.root.hex(),
            {metric.name: bits_to_float(metric.value) for metric in evaluation.metrics},
        )
        for evaluation in evaluations
    ]
