"""A run between its plan and its end: each step carried out, watched, recorded and, where it is due, stored.

`session.Run` is the public door; it opens the plan, and everything after that is here.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from assay.errors import CaptureRefused
from assay.protocol.evidence.events import EARLY_STOP
from assay.protocol.evidence.plan import ClosingRecord
from assay.storage.run_directory import RunDirectory
from assay.training.batches import compute_losses
from assay.training.checkpoint_writer import CheckpointWriter
from assay.training.evaluations import EvaluationList
from assay.training.events import make_note
from assay.training.lines import store_lines
from assay.training.pytorch import devices, opening
from assay.training.pytorch.edits import Edits
from assay.training.pytorch.home import StateHome, verify_results
from assay.training.pytorch.known_answer import compute_known_answer
from assay.training.pytorch.loader import BatchChanged, Loader
from assay.training.pytorch.metric_changes import MetricChanges
from assay.training.pytorch.run_errors import StepInterrupted, WrongOrder
from assay.training.pytorch.schedulers import find_schedulers, restore_settings, save_settings
from assay.training.pytorch.step_runner import GraphDiffers, Outcome, StepRunner
from assay.training.recorder import RunRecorder, StepResult, keep_loss
from assay.training.state import StateRoots

_REHASH_ONE_IN = 200
_FRESH = 2
"""The first steps of a process, after each of which the whole state and the batch are hashed again."""


class LiveRun:
    """The steps of one run.

    Args:
        run: its folder.
        recorder: writes its transcript.
        home: the tensors of its state.
        runners: carry out its steps, one for each body.
        loader: feeds it.
        optimizers: of the step.
        checkpoints: writes its states.

    Attributes:
        runners: as given.
    """

    def __init__(
        self,
        run: RunDirectory,
        recorder: RunRecorder,
        home: StateHome,
        runners: Sequence[StepRunner],
        loader: Loader,
        optimizers: Sequence[torch.optim.Optimizer],
        checkpoints: CheckpointWriter,
    ) -> None:
        self._run, self.recorder, self.home, self.runners = run, recorder, home, runners
        self._loader, self._optimizers, self._checkpoints = loader, optimizers, checkpoints
        self._schedulers = find_schedulers(optimizers)
        self._edits = Edits(run, recorder, home)
        self._metrics = MetricChanges(recorder, self._schedulers)
        self._due: tuple[int, StateRoots] | None = None
        self._last_root: tuple[int, bytes] = (0, b"")
        self._rehash = 0  # the step whose state is hashed again before the next one
        self._toggled: dict[int, torch.Tensor] = {}  # by steps before this process
        self._first = 0  # the last step before this process
        self._interrupted = 0  # the step that did not end

    @property
    def step(self) -> int:
        """The last step that was carried out."""
        return self.recorder.step

    # -- beginning ----------------------------------------------------------------------------------------------------

    def go_on(self, start_root: bytes, *, declared: bool) -> None:
        """Go to the last checkpoint, or store a declared start, which nobody could make again."""
        self._last_root = (0, start_root)
        if declared and not self._run.checkpoints.list_steps():
            self._write_checkpoint(0, self.home.compute_roots())
            self._checkpoints.wait()
        base = opening.choose_base(self._run)
        if base is not None:
            self._load(base)
        self._edits.resume(base or 0)
        self._metrics.begin(base or 0)
        if self._edits.is_pending(base or 0):
            self._last_root = (base or 0, self.home.compute_roots().state_root)

    def _load(self, base: int) -> None:
        """Put the stored state after step `base` in place."""
        checkpoint = self._run.checkpoints.read(base)
        self.recorder.replay_rows(base)
        self._set_flags(restore_settings(checkpoint.manifest.extra, self._optimizers, self._schedulers))
        self.home.fill(checkpoint.manifest.records, checkpoint.tensors)
        self.home.refresh()
        self._first = self._rehash = base
        self._last_root = (base, checkpoint.manifest.state_root)
        self.home.verify_hash(checkpoint.manifest.state_root, base)

    def _set_flags(self, flags: dict[str, bool]) -> None:
        for parameter in self.home.parameters:
            name = self.home.parameter_names[id(parameter)]
            if name in flags:
                parameter.requires_grad_(flags[name])
                self._toggled[id(parameter)] = parameter

    # -- a step -------------------------------------------------------------------------------------------------------

    def carry_out(self, place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out the next step on the batch that the loader gave last, and record it.

        Args:
            place: of the body, in the order of the decorations.
            args: what the body is given: the batch.
            kwargs: as `args`, by name.

        Returns:
            What the body returns.

        Raises:
            BatchChanged, StateChanged, StepInterrupted, CaptureRefused, GraphDiffers, NotFinite, StorageError.
        """
        step = self.step + 1
        fed = self._loader.current
        leaves, spec = pytree.tree_flatten((args, kwargs))
        if fed is None or fed.batch.step != step:
            raise BatchChanged(
                f"step {step} has no batch of its own",
                expected="one call of the step for each batch that run.loader yields",
                next_step="call the step inside `for batch in loader:`",
            )
        fresh = step - self._first <= _FRESH
        batch = fed.verify_untouched(leaves, whole=fresh or secrets.randbelow(_REHASH_ONE_IN) == 0)
        self.verify_state()
        self._write_due()
        self._metrics.note(step - 1)
        self._edits.take_step()
        self._interrupted = step
        try:
            outcome = self.runners[place].run(
                step, batch, lambda tensors: pytree.tree_unflatten(fed.expand(tensors), spec)
            )
        except (CaptureRefused, GraphDiffers):
            self._interrupted = 0  # models and optimizers are as they were
            raise
        self._record(step, fed.batch.membership, fed.batch.content, outcome)
        self._interrupted = 0
        return pytree.tree_unflatten(list(outcome.results), outcome.spec)

    def _verify_whole(self) -> None:
        """Refuse to go on after a step or an edit that was carried out in part, or whose result was refused."""
        if self._edits.is_open:
            raise StepInterrupted(
                "an edit did not end: the state in memory is not that of any step",
                expected="steps, evaluations and the end of the run outside `with run.edit(...)`",
                next_step="run the script again: it goes on from the last checkpoint",
            )
        if self._interrupted:
            raise StepInterrupted(
                f"step {self._interrupted} did not end: the state in memory is not that of any step",
                next_step="run the script again: it goes on from the last checkpoint",
            )

    def verify_state(self) -> None:
        """Check that the state is as the last step or edit left it."""
        self._verify_whole()
        self.home.verify_untouched(self.step)
        if self._rehash == self.step and self._last_root[0] == self.step:
            self.home.verify_hash(self._last_root[1], self.step)

    def _record(self, step: int, membership: bytes, content: bytes, outcome: Outcome) -> None:
        recorder = self.recorder
        verify_results(outcome.results, step)
        recorder.verify_known(step, outcome.program)
        index = recorder.find_program(outcome.program)
        if index is None:
            answer = compute_known_answer(outcome.program)
            index = recorder.add_program(outcome.program, first_step=step, known_answer=answer)
            store_lines(self._run, recorder.program_ids[index], outcome.lines)
        arrays = [devices.fetch(result.contiguous()).numpy() for result in outcome.results]
        loss_root, digests = compute_losses(arrays)
        is_due, is_checkpoint = recorder.is_root_due(step), step % recorder.plan.interval_length == 0
        is_epoch_end = step % len(self._loader) == 0  # the user looks at the net here
        if is_checkpoint or is_epoch_end or step - self._first <= _FRESH or secrets.randbelow(_REHASH_ONE_IN) == 0:
            self._rehash = step
        if is_checkpoint:
            self.home.verify_finite(step)
        roots = None
        if is_due or self._rehash == step:
            roots = self.home.compute_roots()
            self._last_root = (step, roots.state_root)
            self._due = (step, roots) if is_checkpoint else None
        recorder.record(
            StepResult(
                program=index,
                membership=membership,
                content=content,
                row=outcome.row.tobytes(),
                losses=tuple(keep_loss(a.tobytes(), d) for a, d in zip(arrays, digests, strict=True)),
                loss_root=loss_root,
                state_root=roots.state_root if roots is not None and is_due else b"",
                events=recorder.get_events_digest(step - 1),
            )
        )

    def _write_due(self) -> None:
        """Begin the checkpoint of the step before, now that schedulers and settings are as the next step finds them."""
        self._checkpoints.check()
        if self._due is None:
            return
        (step, roots), self._due = self._due, None
        self.recorder.settle()
        self._write_checkpoint(step, roots)

    def _write_checkpoint(self, step: int, roots: StateRoots) -> None:
        self._checkpoints.write(
            step,
            state_root=roots.state_root,
            records=self.home.make_records(roots),
            aliases=self.home.aliases,
            tensors=self._edits.before or self.home.buffers,
            extra=save_settings(self._optimizers, self._schedulers, self.home.parameter_names, self._get_flags()),
            interval=self.recorder.plan.interval_length,
            intended=self.recorder.plan.intended_steps,
        )

    def _get_flags(self) -> dict[str, bool]:
        """Return the `requires_grad` of parameters where steps of this run changed it."""
        toggled = self._toggled.copy()
        for runner in self.runners:
            toggled |= runner.toggled
        names = self.home.parameter_names
        return {names[place]: parameter.requires_grad for place, parameter in toggled.items() if place in names}

    # -- between and after the steps ----------------------------------------------------------------------------------

    @contextmanager
    def edit(self, reason: str) -> Iterator[None]:
        """See `Run.edit`."""
        step = self.step
        self.verify_state()
        with self._edits.edit(step, reason):
            yield
        self._last_root = (step, self.home.compute_roots().state_root)
        self._rehash = step

    def verify_settled(self, what: str) -> None:
        """Check that the state is that of a step, for something that looks at it.

        Raises:
            WrongOrder: an edit that no step follows.
            StateChanged, StepInterrupted: it is not what the last step left.
        """
        self.verify_state()
        if self._edits.is_pending(self.step):
            raise WrongOrder(
                f"{what} after an edit that no step follows",
                expected="a step after the edit: what is declared belongs to the step behind it",
                next_step="take a step first, or leave the edit out",
            )

    def finish(self, reason: str | None, why: str) -> ClosingRecord:
        """Write the last row, the last checkpoint and the closing record.

        Args:
            reason: of the end; None: found from the intended steps.
            why: the loop was left early, in the user's words, or empty.
        """
        self.verify_settled("run.finish")
        recorder, intended = self.recorder, self.recorder.plan.intended_steps
        self.home.verify_finite(recorder.step)
        roots = self.home.compute_roots()
        self._due = None
        recorder.settle(lambda: roots.state_root)
        self._write_checkpoint(recorder.step, roots)
        self._checkpoints.wait()
        early = recorder.step < intended if intended else bool(why)
        reason = reason or (EARLY_STOP if early else "completed")
        if reason == EARLY_STOP:
            end = f"step {recorder.step}" + (f" of {intended}" if intended else "")
            recorder.declare(
                make_note(EARLY_STOP, recorder.step, why or f"the loop ended after {end}; no reason given")
            )
        return recorder.finish(
            reason=reason,
            final_root=lambda: roots.state_root,
            model_root=roots.model_root,
            evaluations=EvaluationList.read(self._run, recorder.step),
        )
