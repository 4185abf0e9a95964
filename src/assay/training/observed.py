"""Observed runs on the disk: written beside a loop that is only watched, and read again. No torch is needed.

```
runs/x/
  observed.bin          the plan: what makes a run an observed one
  profile.bin           what the process had
  steps.log             one row per step of the last optimizer
  log.jsonl             what the user logged
  observed-end.bin      the end, with transcript, final state root and model root
  observer.bin          the signature over it
```

Source: `spec/observed.md`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from assay.errors import Refuted, UsageError
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.observed import (
    ObservedEnd,
    ObservedPlan,
    compute_observed_plan_id,
    rebuild_observed_leaf,
    sign_end,
    verify_end_signature,
    verify_observed_end,
    verify_observed_plan,
)
from assay.protocol.evidence.plan import Profile, compute_profile_id
from assay.protocol.evidence.plan_rules import verify_profile
from assay.protocol.evidence.transcript import (
    EMPTY_CONTEXT,
    StartLeaf,
    StepParts,
    compute_start_id,
    compute_step_id,
    compute_transcript,
)
from assay.protocol.evidence.transcript_rules import verify_step_parts
from assay.protocol.hashing import ZERO
from assay.protocol.signatures import get_public_key
from assay.storage.keyring import read_or_create_seed
from assay.storage.run_directory import RunDirectory
from assay.training.signing import RecorderSignature

PLAN: Final = "observed.bin"
_PROFILE, _END, _SIGNATURE = "profile.bin", "observed-end.bin", "observer.bin"


class OnlyObserved(UsageError):
    """What was asked for needs a recorded step, and the run was only watched."""

    code: ClassVar[str] = "run.only-observed"


class ObservationContradicts(Refuted):
    """A part of an observed run contradicts another part of it."""

    code: ClassVar[str] = "observed.contradiction"


def refuse_observed(run: RunDirectory) -> None:
    """Refuse a run that was only watched.

    Raises:
        OnlyObserved: it was.
    """
    if run.has_object(PLAN):
        raise OnlyObserved(
            f"{run.path} was only observed: batches, randomness and the step itself are not known",
            expected="a run that was recorded with run.loader and @run.step: that is replayable",
            actual="digests, from which nothing can be recomputed",
            next_step="assay run show, verify and report say what is there; to have a run audited, record it",
        )


class ObservedRecorder:
    """Appends steps to an observed run.

    Args:
        run: new, open for writing.
        plan: the plan.
        profile: that it names.
    """

    def __init__(self, run: RunDirectory, plan: ObservedPlan, profile: Profile) -> None:
        verify_observed_plan(plan)
        self.run = run
        self.plan = plan
        run.write_object(_PROFILE, encode(profile))
        run.write_object(PLAN, encode(plan))
        self._id = compute_observed_plan_id(plan)
        self._leaves = [compute_start_id(StartLeaf(0, self._id, EMPTY_CONTEXT, plan.start_root))]
        self._row: bytes | None = None
        self._pending: tuple[bytes, bytes] | None = None

    @property
    def step(self) -> int:
        """The last step that was seen."""
        return len(self._leaves) - 1 + (self._pending is not None)

    def is_root_due(self, step: int) -> bool:
        """Return whether the leaf of `step` holds a state root even if it is not the last (OBS-4)."""
        return step % self.plan.period == 0

    def record(self, row: bytes, state_root: bytes) -> None:
        """Take the next step; its row goes into the log with the step after it.

        Args:
            row: learning rates, raw little-endian float64.
            state_root: 32 bytes, or empty if none is due.
        """
        self._settle()
        self._pending = row, state_root

    def _settle(self) -> None:
        if self._pending is None:
            return
        (row, root), self._pending = self._pending, None
        step = len(self._leaves)
        parts = StepParts(
            step=step,
            program=0,
            state_root=root,
            membership=ZERO,
            content=ZERO,
            scalars=None if row == self._row else row,
            loss=(),
            loss_root=ZERO,
            events=b"",
            leaf=b"",
        )
        self._row = row
        leaf = compute_step_id(rebuild_observed_leaf(parts, self._leaves[-1], row))
        self.run.steps.append(msgspec.structs.replace(parts, leaf=leaf))
        self._leaves.append(leaf)

    def finish(self, *, final_state: bytes, model_root: bytes, reason: str, key: str) -> ObservedEnd:
        """Write the last row, the end and the signature.

        Args:
            final_state: state root after the last step.
            model_root: of it.
            reason: "completed" or "interrupted".
            key: name of the recorder's key, which is made if there is none.

        Raises:
            UsageError: no step was seen.
        """
        if self._pending is None:
            raise UsageError("no step was seen", next_step="call the optimizer's step() after assay.observe")
        self._pending = self._pending[0], final_state
        self._settle()
        end = ObservedEnd(
            version=0,
            plan=self._id,
            steps=len(self._leaves) - 1,
            transcript=compute_transcript(self._leaves),
            final_state=final_state,
            model_root=model_root,
            reason=reason,
        )
        verify_observed_end(end)
        self.run.steps.sync()
        seed = read_or_create_seed(key)
        self.run.write_object(_END, encode(end))
        self.run.write_object(_SIGNATURE, encode(RecorderSignature(0, get_public_key(seed), sign_end(seed, end))))
        return end


class ObservedRun:
    """An observed run, opened for reading.

    Args:
        path: its folder.

    Raises:
        NotARun, NewerFormat: from the storage.
        MalformedEvidence: a record is not in its one form.
        ObservationContradicts: the profile is another one.
        UsageError: the run was not observed.
    """

    def __init__(self, path: Path | str) -> None:
        self.directory = RunDirectory.open(path)
        self.path = self.directory.path
        if not self.directory.has_object(PLAN):
            raise UsageError(f"{path} is not an observed run")
        self.plan = decode(self.directory.read_object(PLAN), ObservedPlan)
        verify_observed_plan(self.plan)
        self.profile = decode(self.directory.read_object(_PROFILE), Profile)
        verify_profile(self.profile)
        if compute_profile_id(self.profile) != self.plan.profile:
            raise ObservationContradicts("the profile is not the one that the plan names")

    def close(self) -> None:
        """Let go of the files."""
        self.directory.close()

    @cached_property
    def end(self) -> ObservedEnd | None:
        """The end, or None while it goes on or if it was broken off."""
        if not self.directory.has_object(_SIGNATURE):
            return None
        end = decode(self.directory.read_object(_END), ObservedEnd)
        verify_observed_end(end)
        return end

    @cached_property
    def rows(self) -> list[StepParts]:
        """All steps, each following from the one before (OBS-3, OBS-4).

        Raises:
            ObservationContradicts: one does not, or a state root is missing or not due.
        """
        leaf = compute_start_id(StartLeaf(0, compute_observed_plan_id(self.plan), EMPTY_CONTEXT, self.plan.start_root))
        leaves, rows, row = [leaf], [], b""
        for parts in self.directory.iterate_rows(0):
            verify_step_parts(parts)
            row = parts.scalars if parts.scalars is not None else row
            if compute_step_id(rebuild_observed_leaf(parts, leaves[-1], row)) != parts.leaf:
                raise ObservationContradicts(f"row {parts.step} does not follow from the row before it")
            leaves.append(parts.leaf)
            rows.append(parts)
        self._verify_roots(rows)
        if self.end is not None:
            self._verify_end(self.end, rows, leaves)
        return rows

    def _verify_roots(self, rows: list[StepParts]) -> None:
        last = len(rows) if self.end is not None else 0
        for parts in rows:
            due = parts.step % self.plan.period == 0 or parts.step == last
            if due != bool(parts.state_root):
                raise ObservationContradicts(
                    f"the leaf of step {parts.step} contradicts the period of state roots",
                    expected="a state root" if due else "none",
                )

    def _verify_end(self, end: ObservedEnd, rows: list[StepParts], leaves: list[bytes]) -> None:
        for what, expected, actual in (
            ("number of steps", end.steps, len(rows)),
            ("plan", end.plan, compute_observed_plan_id(self.plan)),
            ("transcript", end.transcript, compute_transcript(leaves)),
            ("final state", end.final_state, rows[-1].state_root if rows else b""),
        ):
            if expected != actual:
                raise ObservationContradicts(f"the {what} of the end is not that of the rows")

    def read_observer(self) -> bytes | None:
        """Return the public key of whoever watched, after checking its signature; None before the end (OBS-6).

        Raises:
            Refuted: the signature does not hold.
        """
        if self.end is None:
            return None
        signature = decode(self.directory.read_object(_SIGNATURE), RecorderSignature)
        verify_end_signature(signature.public_key, self.end, signature.signature)
        return signature.public_key
