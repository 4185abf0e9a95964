"""The process that recomputes: it is started with the profile of the run, bounded in memory, and reads tasks from its
standard input. A failure of this process says nothing about the run.

Usage: `python -m assay.verification.worker RUN MEMORY_BYTES`.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from typing import TextIO

import msgspec
import numpy as np

from assay.errors import AssayError, Refuted
from assay.protocol.evidence.program_cost import verify_cost
from assay.protocol.hashing import ZERO
from assay.training.data_store import open_data
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.known_answer import compute_known_answer
from assay.training.pytorch.profile import apply_profile, tune_allocator
from assay.training.recorded import RecordedRun
from assay.training.replay import Difference, Replayer, StartDiffers, verify_data
from assay.verification.distances import compare_states
from assay.verification.tasks import Answer, Ready, Task, TensorDifference


class Worker:
    """Carries out the tasks of one audit."""

    def __init__(self, path: str) -> None:
        self.run = RecordedRun(path)
        apply_profile(self.run.profile)
        tune_allocator()
        self.backend = TorchBackend(self.run.start.aliases)
        self.replayer = Replayer(self.run, self.backend)
        self._position = -1

    def check_machine(self) -> Ready:
        """Compare the known answers of all programs with those that the recorder's machine gave."""
        for use in self.run.uses:
            program = self.run.read_program(use.program)
            verify_cost(program, self.run.plan.limits)
            if use.known_answer != ZERO and compute_known_answer(program) != use.known_answer:
                return Ready(
                    ready=False,
                    reason=f"program {use.program.hex()[:16]} gives another known answer here: this machine cannot judge "
                    "this profile",
                )
        return Ready(ready=True)

    def carry_out(self, task: Task) -> Answer:
        """Return the answer to a task; errors become answers that say nothing about the run, but for refutations."""
        try:
            if task.kind == "start":
                return self._check_start(task)
            if task.kind == "evaluation":
                return self._check_evaluation(task)
            return self._check_interval(task)
        except Refuted as error:
            return Answer(task.kind, task.index, "differs", detail=str(error))
        except MemoryError:
            return Answer(task.kind, task.index, "failed", detail="out of memory")
        except RuntimeError as error:
            return Answer(task.kind, task.index, "failed", detail=f"torch: {str(error)[:500]}")
        except AssayError as error:
            return Answer(task.kind, task.index, "failed", detail=str(error)[:2000])

    def _check_start(self, task: Task) -> Answer:
        records, _ = self.replayer.make_start()
        same = list(records) == list(self.run.start.records)
        return Answer("start", task.index, "matches" if same else "differs", detail="" if same else _START_DIFFERS)

    def _check_interval(self, task: Task) -> Answer:
        first, last = self.run.get_interval(task.index)
        base = self.replayer.find_base(first)
        begun = time.perf_counter()
        difference = self._replay(base, last)
        seconds = time.perf_counter() - begun
        if difference is None:
            self._position = last
            return Answer("interval", task.index, "matches", seconds=seconds)
        self._position = -1
        if difference.step <= first:
            return Answer(
                "interval", task.index, "failed",
                detail=f"its start could not be reached: step {difference.step}, before it, differs",
            )  # fmt: skip
        again = self._replay(base, last)
        if again != difference:
            return Answer("interval", task.index, "failed", detail="two replays on this machine gave different results")
        return Answer(
            "interval", task.index, "differs", step=difference.step, parts=difference.parts, replays=2,
            seconds=seconds, tensors=self._measure_distance(difference.step, last),
        )  # fmt: skip

    def _replay(self, base: int, last: int) -> Difference | None:
        # A worker that has just come to the base by replaying the interval before may go on from there: the
        # transcript claims that state, and it was compared.
        if self._position != base:
            self.replayer.load(base)
        return self.replayer.replay(base, last)

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
        self._position = -1
        base = self.replayer.find_base(evaluation.step)
        self.replayer.load(base)
        if self.replayer.replay(base, evaluation.step) is not None:
            return Answer("evaluation", task.index, "failed", detail="its state could not be reached")
        data, packed = open_data(self.run.directory, f"test-{evaluation.data.leaves.root.hex()[:16]}")
        verify_data(evaluation.data, data, packed)
        program = self.run.read_program(evaluation.program)
        measured = self.backend.measure(program, packed, evaluation.batch_size, evaluation.metrics)
        if measured != evaluation.metrics:
            return Answer("evaluation", task.index, "differs", detail="the metrics are others")
        return Answer("evaluation", task.index, "matches")


_START_DIFFERS = "the initialiser gives another start than the run claims"


def limit_memory(size: int) -> None:
    """Bound the address space of this process above what it has now; 0: no bound."""
    if size <= 0:
        return
    with open("/proc/self/statm", encoding="ascii") as file:
        present = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = present + size
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def serve(path: str, memory: int, tasks: TextIO, answers: TextIO) -> None:
    """Answer tasks until the input ends."""

    def put(message: msgspec.Struct) -> None:
        answers.write(msgspec.json.encode(message).decode() + "\n")
        answers.flush()

    np.seterr(all="ignore")
    limit_memory(memory)
    try:
        worker = Worker(path)
        ready = worker.check_machine()
    except Refuted as error:
        put(Ready(ready=False, reason=str(error), refuted=not isinstance(error, StartDiffers)))
        return
    except (AssayError, RuntimeError, MemoryError) as error:
        put(Ready(ready=False, reason=str(error)[:4000] or type(error).__name__))
        return
    put(ready)
    if not ready.ready:
        return
    for line in tasks:
        put(worker.carry_out(msgspec.json.decode(line, type=Task)))


if __name__ == "__main__":
    # What torch or a library prints must not mix with the answers.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1], int(sys.argv[2]), sys.stdin, channel)
