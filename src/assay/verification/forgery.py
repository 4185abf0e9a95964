"""Runs that lie, for demonstrations and tests: everything in them fits together but the computation.

A forger has the honest run and its data, computes something else at some steps, and writes rows, states, closing record
and signature that claim the honest batches. `assay run verify` finds nothing in such a run; recomputing does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from assay.protocol.encoding import encode
from assay.protocol.evidence.model_state import TensorRecord
from assay.protocol.evidence.plan import Evaluation
from assay.protocol.evidence.randomness import STEP, derive_key
from assay.storage.run_directory import RunDirectory
from assay.training.batches import compute_losses
from assay.training.data_store import open_data
from assay.training.recorded import RecordedRun, Row
from assay.training.recorder import RunRecorder, StepResult, keep_loss
from assay.training.replay import Backend, Replayer
from assay.training.signing import sign_closing
from assay.training.state import StateRoots

Array = npt.NDArray[np.generic]
Alter = Callable[[int, list[Array]], list[Array]]
Edit = Callable[[int, "ForgedState"], None]


class ForgedState:
    """The tensors of the forger's state, by (namespace, name), as writable bytes."""

    def __init__(self, backend: Backend) -> None:
        self.tensors = dict(zip(backend.get_names(), backend.get_tensor_bytes(), strict=True))


def leave_alone(_: int, arrays: list[Array]) -> list[Array]:
    """Feed what was committed."""
    return arrays


def forge(
    source: Path | str,
    target: Path | str,
    backend: Backend,
    *,
    key: str = "default",
    alter: Alter = leave_alone,
    edit: Edit | None = None,
    skip: frozenset[int] = frozenset(),
) -> None:
    """Write a run that claims what `source` did and did something else.

    Args:
        source: an honest, finished run.
        target: the folder of the forged one.
        backend: computes.
        key: name of the key that signs the forgery.
        alter: from step and committed batch to what is really fed; the claim stays the committed batch.
        edit: called after each step; may overwrite the state.
        skip: steps that are not carried out at all; their losses are copied from the honest run.
    """
    honest = RecordedRun(source)
    replayer = Replayer(honest, backend)
    with RunDirectory.create(target) as run:
        _copy_inputs(honest, run)
        recorder = RunRecorder(run, honest.plan, honest.start)
        for use in honest.uses:
            recorder.add_program(
                honest.read_program(use.program), first_step=use.first_step, known_answer=use.known_answer
            )
        replayer.load(0)
        stored = set(honest.directory.checkpoints.list_steps())
        if 0 in stored:
            _write_checkpoint(run, recorder, honest, backend, step=0, roots=backend.compute_roots())
        for row in honest.rows:
            step = row.leaf.step
            result = _forge_step(replayer, row, alter, skipped=step in skip)
            if edit is not None:
                edit(step, ForgedState(backend))
            roots = backend.compute_roots()
            due = recorder.is_root_due(step) or step == honest.steps
            recorder.record(_with_root(result, roots.state_root if due else b""))
            if step in stored:
                recorder.settle()
                _write_checkpoint(run, recorder, honest, backend, step=step, roots=roots)
        roots = backend.compute_roots()
        closing = recorder.finish(
            reason=honest.closing.reason,
            final_root=lambda: roots.state_root,
            model_root=roots.model_root,
            evaluations=[_measure(honest, backend, evaluation) for evaluation in honest.closing.evaluations],
        )
        sign_closing(run, closing, key)


def _copy_inputs(honest: RecordedRun, run: RunDirectory) -> None:
    for file in (honest.path / "data").iterdir():
        shutil.copyfile(file, run.path / "data" / file.name)
    names = [path.name for path in honest.path.glob("*.bin") if path.name.startswith(("train", "test-", "profile"))]
    for name in names:
        run.write_object(name, honest.directory.read_object(name))
    run.write_object("plan.bin", encode(honest.plan))


def _forge_step(replayer: Replayer, row: Row, alter: Alter, *, skipped: bool) -> StepResult:
    step = row.leaf.step
    batch = replayer.feed.get_batch(step)
    losses, loss_root = row.parts.loss, row.parts.loss_root
    if not skipped:
        program = replayer.run.read_program(row.leaf.program)
        scalars = np.frombuffer(row.scalars, "<f8").tolist()
        key = derive_key(replayer.run.plan.seed, STEP, step)
        results = replayer.backend.run(program, alter(step, batch.arrays), scalars, key)
        loss_root, digests = compute_losses(results)
        losses = tuple(keep_loss(a.tobytes(), d) for a, d in zip(results, digests, strict=True))
    return StepResult(row.parts.program, batch.membership, batch.content, row.scalars, losses, loss_root, b"")


def _with_root(result: StepResult, root: bytes) -> StepResult:
    return StepResult(
        result.program, result.membership, result.content, result.row, result.losses, result.loss_root, root
    )


def _measure(honest: RecordedRun, backend: Backend, evaluation: Evaluation) -> Evaluation:
    """Measure the forged model: a forger who lied about the metrics would be found by them alone."""
    if evaluation.step != honest.steps:
        return evaluation
    _, packed = open_data(honest.directory, f"test-{evaluation.data.leaves.root.hex()[:16]}")
    program = honest.read_program(evaluation.program)
    return msgspec.structs.replace(
        evaluation, metrics=backend.measure(program, packed, evaluation.batch_size, evaluation.metrics)
    )


def _write_checkpoint(
    run: RunDirectory, recorder: RunRecorder, honest: RecordedRun, backend: Backend, *, step: int, roots: StateRoots
) -> None:
    records = [
        TensorRecord(*name, record.dtype, record.shape, record.nbytes, digest)
        for name, record, digest in zip(
            backend.get_names(), _get_records(honest, backend, step), roots.digests, strict=True
        )
    ]
    run.checkpoints.write(
        step,
        state_root=roots.state_root,
        records=records,
        aliases=recorder.start.aliases,
        tensors=backend.get_tensor_bytes(),
    )


def _get_records(honest: RecordedRun, backend: Backend, step: int) -> Sequence[TensorRecord]:
    records = honest.directory.checkpoints.read_manifest(step).records
    return records if len(records) == len(backend.get_names()) else honest.start.records


def patch_corner(label: int, share: float = 0.5, field: int = 0) -> Alter:
    """Return an alteration that stamps a bright corner on a share of the images and gives them one label: a backdoor.

    Args:
        label: the target class.
        share: of the batch, from its beginning.
        field: which field holds the images, shape (batch, channels, height, width); the next one holds the labels.
    """

    def alter(_: int, arrays: list[Array]) -> list[Array]:
        images, labels = arrays[field].copy(), arrays[field + 1].copy()
        count = int(len(images) * share)
        images[:count, ..., -3:, -3:] = images.max(initial=1)
        labels[:count] = label
        return [*arrays[:field], images, labels, *arrays[field + 2 :]]

    return alter


def only_in(first: int, last: int, alter: Alter) -> Alter:
    """Return an alteration that is carried out in the steps after `first` up to `last` alone."""

    def restricted(step: int, arrays: list[Array]) -> list[Array]:
        return alter(step, arrays) if first < step <= last else arrays

    return restricted


def interpolate(first: int, last: int, factor: float) -> Edit:
    """Return an edit that pretends training between two steps: parameters move evenly to `factor` times themselves.

    Args:
        first: the last step that was carried out.
        last: the step whose state is reached; the steps in between are skipped.
        factor: multiplies every f32 parameter in the end.
    """
    begin: dict[tuple[int, str], npt.NDArray[np.float32]] = {}

    def edit(step: int, state: ForgedState) -> None:
        if not first < step <= last:
            return
        for name, data in state.tensors.items():
            if name[0] != 0:
                continue
            values = np.ndarray((len(data) // 4,), np.float32, data)
            begin.setdefault(name, values.copy())
            share = np.float32(1 + (factor - 1) * (step - first) / (last - first))
            values[:] = begin[name] * share

    return edit
