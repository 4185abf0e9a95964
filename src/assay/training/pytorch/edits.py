"""`run.edit`: a declared change of the state between two steps, kept so that whoever replays applies it.

A script that is resumed goes through its edits again, or does not: the loop begins behind the last checkpoint, and what
stands before the loop is carried out once more. So the bytes that were stored count, not what the block does again: an
edit after the step of the checkpoint is applied when the run is resumed, and one from before it is undone.

Source: `spec/transcript.md`, TRN-9 to TRN-11.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from assay.errors import UsageError
from assay.protocol.evidence.events import EDIT
from assay.protocol.evidence.model_state import TensorRecord
from assay.storage.run_directory import RunDirectory
from assay.training.events import StoredEvent, compute_change, make_edit
from assay.training.pytorch.home import StateHome, set_bytes
from assay.training.recorder import RunRecorder


class EditRefused(UsageError):
    """An edit that cannot be a part of the run."""

    code: ClassVar[str] = "edit.refused"


class Edits:
    """The edits of a run that is being recorded.

    Args:
        run: where the changed tensors are kept.
        recorder: writes the events.
        home: the state.

    Attributes:
        before: the bytes of the state before the edit after the last step; None: there was none.
        is_open: True inside the block.
    """

    def __init__(self, run: RunDirectory, recorder: RunRecorder, home: StateHome) -> None:
        self._run = run
        self._recorder = recorder
        self._home = home
        self._step = -1  # after which the state was edited
        self._resumed = -1  # after which `resume` applied an edit that the script may now declare again
        self._is_fresh = True  # no step was carried out by this process
        self.before: list[bytes] | None = None
        self.is_open = False

    def resume(self, step: int) -> None:
        """Apply what was declared after the step of the checkpoint from which the run goes on."""
        known = self._recorder.find_events(step, EDIT)
        if known:
            self._step = self._resumed = step
            self.before = self._copy()
            self._put(known[-1])
            self._recorder.declare(known[-1])

    def take_step(self) -> None:
        """Forget the state before the edit: a step has begun, or the checkpoint is written."""
        self.before, self._is_fresh = None, False

    def is_pending(self, step: int) -> bool:
        """Return whether the state is another one than the transcript has after `step`."""
        return self._step == step

    @contextmanager
    def edit(self, step: int, reason: str) -> Iterator[None]:
        """Declare what happens to the state in the block.

        Args:
            step: the last one.
            reason: 1 to 1024 printable characters of ASCII.

        Raises:
            EditRefused: a second edit after one step, no reason, or tensors that appeared, vanished or changed form.
        """
        if self.is_open or (self._step == step and self._resumed != step):
            raise EditRefused(f"the state was edited after step {step} already", next_step="put both into one block")
        if not (0 < len(reason) <= 1024 and reason.isascii() and reason.isprintable()):
            raise EditRefused("an edit needs a reason", expected="1 to 1024 printable characters of ASCII")
        if self._resumed == step and self.before is not None:
            self._restore(self.before)
        before, layout = self._copy(), self._home.layout
        self.is_open = True
        yield
        self._home.refresh()
        if self._home.layout != layout:
            raise EditRefused(
                "an edit changes values, not tensors: one appeared, vanished, or has another shape or type",
                next_step="change values in place; for other tensors begin a new run",
            )
        self._settle(step, reason, before)
        self.is_open = False

    def _settle(self, step: int, reason: str, before: list[bytes]) -> None:
        """Record the edit, or put in its place what was recorded before the run was resumed."""
        known = self._recorder.find_events(step, EDIT)
        again = [one for one in known if one.event.reason == reason]
        if not again and self._is_fresh and self._recorder.is_declared_before(step, reason):
            self._restore(before)  # it was carried out before the checkpoint
            if self._resumed == step:
                self._put(known[-1])
            return
        if again:
            self._restore(before)
            self._put(again[-1])
            stored: StoredEvent | None = again[-1]
        else:
            stored = self._make(step, reason, before)
        if stored is not None:
            self._recorder.declare(stored)
            self._step, self._resumed, self.before = step, -1, before
            self._home.note()

    def _make(self, step: int, reason: str, before: list[bytes]) -> StoredEvent | None:
        """Return the event of a new edit; None if nothing was changed."""
        self._home.verify_finite(step)
        changed = self._store(before)
        if not changed:
            return None
        records, old = list(changed.values()), [before[place] for place in changed]
        buffers = self._home.buffers
        norm = compute_change(records, old, [buffers[place] for place in changed])
        return make_edit(step, reason, records, norm)

    def _store(self, before: list[bytes]) -> dict[int, TensorRecord]:
        """Keep the bytes of the tensors that changed; return their records by place."""
        records = self._home.make_records(self._home.compute_roots())
        buffers = self._home.buffers
        changed = {place: one for place, one in enumerate(records) if buffers[place] != before[place]}
        for place in changed:
            self._run.blobs.put(buffers[place])
        return changed

    def _copy(self) -> list[bytes]:
        return [bytes(buffer) for buffer in self._home.buffers]

    def _restore(self, tensors: list[bytes]) -> None:
        for tensor, data in zip(self._home.tensors, tensors, strict=True):
            set_bytes(tensor, data)
        self._home.note()

    def _put(self, one: StoredEvent) -> None:
        """Write the stored tensors of an edit into the state."""
        places = {(entry.namespace, entry.name): place for place, entry in enumerate(self._home.layout)}
        for record in one.records:
            place = places.get((record.namespace, record.name))
            if place is None or self._home.layout[place].nbytes != record.nbytes:
                raise EditRefused(f"the stored edit changes {record.name}, which the models do not have in this form")
            set_bytes(self._home.tensors[place], self._run.blobs.open(record.digest, max_bytes=record.nbytes))
        self._home.note()
