"""The process that recomputes: one worker of an audit.

It is started with the profile of the run, bounded in memory, reads tasks from its standard input and ends with its
parent. A failure of this process says nothing about the run.

Usage: `python -m assay.verification.worker RUN MEMORY_BYTES`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from typing import TextIO

import msgspec
import numpy as np

from assay.errors import AssayError, MalformedEvidence, Refuted
from assay.protocol.decoders import get_json_decoder
from assay.protocol.evidence.program import INITIALISER
from assay.protocol.evidence.program_cost import verify_cost
from assay.protocol.hashing import ZERO
from assay.training.data_store import open_data
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.formula import FormulaUnknown, count_differing_rows
from assay.training.pytorch.known_answer import compute_known_answer
from assay.training.pytorch.profile import apply_profile, tune_allocator
from assay.training.recompute import Recomputer
from assay.training.recorded import RecordedRun
from assay.training.replay import Difference, Replayer, StartDiffers, StateUnfit, verify_data
from assay.training.work_digest import WorkHasher
from assay.verification.distances import compare_states
from assay.verification.memory_bound import limit_memory
from assay.verification.tasks import OUT_OF_MEMORY, Answer, Ready, Task, TensorDifference, VoteRoots

_LIKE_MACHINE = "audit on a machine like the one that recorded; `assay run show` prints its profile"
_MORE_MEMORY = "give the workers more memory with --memory, or use fewer with --workers"
_WATCH_SECONDS = 0.5


class Worker:
    """Carries out the tasks of one audit."""

    def __init__(self, path: str) -> None:
        self.run = RecordedRun(path)
        apply_profile(self.run.profile)
        tune_allocator()
        self.backend = TorchBackend(self.run.start.aliases)
        self.replayer = Replayer(self.run, self.backend)
        self._position = -1
        self._recomputer: Recomputer | None = None

    def check_machine(self) -> Ready:
        """Compare the known answers of all programs with those that the recorder's machine gave.

        Raises:
            MalformedEvidence: a program breaks the limits of the plan, or has no known answer.
        """
        for use in self.run.uses:
            program = self.run.read_program(use.program)
            verify_cost(program, self.run.plan.limits)
            if program.kind == INITIALISER:
                continue
            if use.known_answer == ZERO:
                raise MalformedEvidence(f"program {use.program.hex()[:16]} has no known answer, so nobody can judge it")
            if compute_known_answer(program) != use.known_answer:
                return Ready(
                    ready=False,
                    reason=f"program {use.program.hex()[:16]} gives another known answer here: "
                    "this machine cannot judge this profile",
                    next_step=_LIKE_MACHINE,
                )
        return Ready(ready=True)

    def carry_out(self, task: Task) -> Answer:
        """Return the answer to a task. Only what was computed from the run's own claims can differ."""
        try:
            if task.kind == "start":
                return self._check_start(task)
            if task.kind == "evaluation":
                return self._check_evaluation(task)
            if task.kind == "scalars":
                return self._compare_scalars(task)
            if task.kind == "vote":
                return self._recompute_for_vote(task)
            return self._check_interval(task)
        except (StartDiffers, StateUnfit) as error:
            return Answer(task.kind, task.index, "differs", detail=str(error)[:2000])
        except MemoryError:
            return Answer(task.kind, task.index, "failed", detail=OUT_OF_MEMORY)
        except AssayError as error:
            return Answer(task.kind, task.index, "failed", detail=str(error)[:2000])
        except RuntimeError as error:
            lacks_memory = "allocate memory" in str(error) or "out of memory" in str(error)  # the second on CUDA
            detail = OUT_OF_MEMORY if lacks_memory else f"torch: {str(error)[:500]}"
            return Answer(task.kind, task.index, "failed", detail=detail)
        except Exception as error:  # noqa: BLE001 - a fault of ours is no finding
            return Answer(task.kind, task.index, "failed", detail=f"{type(error).__name__}: {str(error)[:500]}")

    def _check_start(self, task: Task) -> Answer:
        records, _ = self.replayer.make_start()
        same = list(records) == list(self.run.start.records)
        return Answer("start", task.index, "matches" if same else "differs", detail="" if same else _START_DIFFERS)

    def _compare_scalars(self, task: Task) -> Answer:
        try:
            return Answer("scalars", task.index, "report", differing_rows=count_differing_rows(self.run))
        except (FormulaUnknown, MalformedEvidence) as error:
            return Answer("scalars", task.index, "report", detail=str(error)[:2000])

    def _check_interval(self, task: Task) -> Answer:
        first, last = self.run.get_interval(task.index)
        begun = time.perf_counter()
        difference = self._replay(first, last)
        seconds = time.perf_counter() - begun
        if difference is None:
            return Answer("interval", task.index, "matches", seconds=seconds)
        if self._replay(first, last) != difference:
            return Answer("interval", task.index, "failed", detail=_UNSTABLE)
        if difference.step <= first:
            return Answer(
                "interval", task.index, "inconclusive", step=difference.step, parts=difference.parts, replays=2,
                detail=f"its start could not be reached: step {difference.step}, before it, differs",
            )  # fmt: skip
        return Answer(
            "interval", task.index, "differs", step=difference.step, parts=difference.parts, replays=2,
            seconds=seconds, tensors=self._measure_distance(difference.step, last),
        )  # fmt: skip

    def _recompute_for_vote(self, task: Task) -> Answer:
        """Recompute an interval to its end whatever differs; twice before anything is called different."""
        if self._recomputer is None:
            hasher = WorkHasher()
            backend = TorchBackend(self.run.start.aliases, hasher)
            self._recomputer = Recomputer(Replayer(self.run, backend), hasher)
        begun = time.perf_counter()
        found, replays = self._recomputer.answer(task.index, bytes.fromhex(task.key)), 1
        if not found.matches:
            again, replays = self._recomputer.answer(task.index, bytes.fromhex(task.key)), 2
            if again != found:
                return Answer("vote", task.index, "failed", detail=_UNSTABLE)
        vote = VoteRoots(
            found.start_root.hex(), found.end_root.hex(), found.leaves.size, found.leaves.root.hex(),
            found.work_digest.hex(),
        )  # fmt: skip
        return Answer(
            "vote", task.index, "matches" if found.matches else "differs", step=found.step, replays=replays,
            seconds=time.perf_counter() - begun, vote=vote,
        )  # fmt: skip

    def _replay(self, first: int, last: int) -> Difference | None:
        """Go to the state of step `first` and carry out the steps up to `last`; return the first difference.

        A worker that is on its way there goes on from where it is: the transcript claims that state, and it was
        compared. Otherwise it begins at the last stored state.
        """
        base = self.replayer.find_base(first)
        position, self._position = self._position, -1
        if not base <= position <= first:
            self.replayer.load(base)
            position = base
        difference = self.replayer.replay(position, last)
        if difference is None:
            self._position = last
        return difference

    def _measure_distance(self, step: int, last: int) -> tuple[TensorDifference, ...]:
        """Go on to the end of the interval and compare with the stored state there, if there is one."""
        with suppress(AssayError, MemoryError):
            self.replayer.replay(step, last, stop_at_difference=False)
            checkpoint = self.run.directory.checkpoints.read(last)
            keys = [(record.namespace, record.name) for record in checkpoint.manifest.records]
            if keys == list(self.backend.tensors):
                actual = self.backend.get_tensor_bytes()
                return compare_states(checkpoint.manifest.records, checkpoint.tensors, actual)
        return ()

    def _check_evaluation(self, task: Task) -> Answer:
        evaluation = self.run.closing.evaluations[task.index]
        difference = self._replay(evaluation.step, evaluation.step)
        if difference is not None:
            return Answer(
                "evaluation", task.index, "inconclusive", step=difference.step, parts=difference.parts,
                detail=f"its state could not be reached: step {difference.step}, before it, differs",
            )  # fmt: skip
        data, packed = open_data(self.run.directory, f"test-{evaluation.data.leaves.root.hex()[:16]}")
        verify_data(evaluation.data, data, packed)
        program = self.run.read_program(evaluation.program)
        measured = self.backend.measure(program, packed, evaluation.batch_size, evaluation.metrics)
        if measured != evaluation.metrics:
            return Answer("evaluation", task.index, "differs", detail="the metrics are others")
        return Answer("evaluation", task.index, "matches")


_UNSTABLE = "two replays on this machine gave different results"
_START_DIFFERS = "the initialiser gives another start than the run claims"


def end_with_parent() -> None:
    """End this process soon after its parent, however that ended: nobody waits for an answer any more."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def open_worker(path: str) -> tuple[Worker | None, Ready]:
    """Return a worker that can judge the run, or None and why not."""
    try:
        worker = Worker(path)
        ready = worker.check_machine()
    except Refuted as error:
        return None, Ready(ready=False, reason=str(error), refuted=True)
    except AssayError as error:
        return None, Ready(ready=False, reason=error.message, next_step=error.next_step or "")
    except MemoryError:
        return None, Ready(ready=False, reason=OUT_OF_MEMORY, next_step=_MORE_MEMORY)
    except RuntimeError as error:
        lacks_memory = "allocate memory" in str(error)
        return None, Ready(ready=False, reason=str(error)[:4000], next_step=_MORE_MEMORY if lacks_memory else "")
    return worker if ready.ready else None, ready


def serve(path: str, memory: int, tasks: TextIO, answers: TextIO) -> None:
    """Answer tasks until the input ends."""

    def put(message: msgspec.Struct) -> None:
        answers.write(msgspec.json.encode(message).decode() + "\n")
        answers.flush()

    np.seterr(all="ignore")
    limit_memory(memory)
    worker, ready = open_worker(path)
    put(ready)
    if worker is None:
        return
    for line in tasks:
        task = get_json_decoder(Task).decode(line)
        if task.kind == "open":
            worker, ready = open_worker(task.path)
            put(ready)
            if worker is None:
                return
        else:
            put(worker.carry_out(task))


if __name__ == "__main__":
    end_with_parent()
    # What torch or a library prints must not mix with the answers.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1], int(sys.argv[2]), sys.stdin, channel)
