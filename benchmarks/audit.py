"""What an audit costs: two workers against one, and k of N intervals against training.

A transformer of 0.4M parameters is recorded for 20 intervals of 16 steps, and audited by one worker, by two, and by one
that draws 5 intervals, in turn. Start-up is apart: a round's clock starts when all its workers have loaded torch and
the data, found their known answers right, and wait for their first task; it ends with the last finding. Building
executors, loading states and hashing are inside. The start-up itself is printed, and beside each time the processor
seconds that the busiest worker took in it: on a machine that does other work too, they say more. Training time is that
of the recorded steps themselves, with everything on: the median over the intervals of two recordings, one before and
one after the audits, without the first two intervals, in which programs are captured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from torch.utils.data import TensorDataset

import assay
from assay.training.profile_environment import environment_for
from assay.verification.audit import audit_run
from assay.verification.tasks import Ready
from assay.verification.worker_process import WorkerProcess
from benchmarks.record import JOBS, make_body, make_scheduler
from benchmarks.report import make_result, print_report

JOB = next(job for job in JOBS if "0.4M" in job.name)
EPOCHS, LENGTH = 5, 16
QUICK_EPOCHS, QUICK_LENGTH = 2, 8
CAPTURING = 2
"""Intervals at the beginning in which programs are captured and eager runs beside."""


def record(folder: Path, epochs: int, length: int) -> list[float]:
    """Record a run, a checkpoint every `length` steps; return the seconds of each interval after the first ones."""
    torch.set_num_threads(1)
    run = assay.start(folder, seed=0, checkpoint_every=length)
    with run.init():
        net = JOB.make()
    optimizer = JOB.optimizer(net)
    scheduler = make_scheduler(optimizer)
    loader = run.loader(TensorDataset(*JOB.data()), batch_size=JOB.batch_size)
    step = run.step(models=[net], optimizers=[optimizer])(make_body(JOB, net, [optimizer]))
    taken, begun = [], time.perf_counter()
    for _ in run.epochs(epochs):
        net.train()
        for batch in loader:
            step(batch)
            scheduler.step()
            if run.step_number % length == 0:
                now = time.perf_counter()
                taken.append(now - begun)
                begun = now
    run.finish()
    return taken[CAPTURING:]


def read_processor_seconds(worker: WorkerProcess) -> float:
    """Return the processor time of a worker so far."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def audit(folder: Path, auditor: bytes, workers: int, sample: int) -> tuple[float, float, float]:
    """Audit a run; return the seconds of start-up, of the work from then on, and of the busiest processor in it."""
    ready_at: list[float] = []
    barrier = threading.Barrier(workers, lambda: ready_at.append(time.perf_counter()))
    await_ready, close = WorkerProcess.await_ready, WorkerProcess.close
    used: dict[int, float] = {}

    def wait_for_all(worker: WorkerProcess) -> Ready | None:
        ready = await_ready(worker)
        used[worker.pid] = -read_processor_seconds(worker)
        barrier.wait(timeout=300)
        return ready

    def measure_and_close(worker: WorkerProcess) -> None:
        used[worker.pid] += read_processor_seconds(worker)
        close(worker)

    begun = time.perf_counter()
    with (
        mock.patch.object(WorkerProcess, "await_ready", wait_for_all),
        mock.patch.object(WorkerProcess, "close", measure_and_close),
    ):
        found = audit_run(folder, auditor=auditor, environment=environment_for, workers=workers, sample=sample)
    ended = time.perf_counter()
    if not found.is_complete or found.differing or found.failed:
        raise RuntimeError("the audit of an honest run did not match")
    return ready_at[0] - begun, ended - ready_at[0], max(used.values())


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round over shorter intervals")
    options = parser.parse_args()
    epochs, length = (QUICK_EPOCHS, QUICK_LENGTH) if options.quick else (EPOCHS, LENGTH)
    rounds = 1 if options.quick else 3
    intervals = epochs * -(-len(JOB.data()[0]) // JOB.batch_size) // length
    drawn = intervals // 4
    kinds = {"one": (1, intervals), "two": (2, intervals), "sample": (1, drawn)}
    work: dict[str, list[float]] = {name: [] for name in kinds}
    start_up: dict[str, list[float]] = {name: [] for name in kinds}
    processor: dict[str, list[float]] = {name: [] for name in kinds}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-audit-")))
        os.environ["ASSAY_HOME"] = str(folder / "home")
        training = record(folder / "before", epochs, length)
        for number in range(rounds):
            for name, (workers, sample) in kinds.items():
                apart, seconds, used = audit(folder / "before", bytes([number]) * 32, workers, sample)
                start_up[name].append(apart)
                work[name].append(seconds)
                processor[name].append(used)
                line = f"{name}: start-up {apart:.2f} s, work {seconds:.2f} s, processor {used:.2f} s"
                print(line, file=sys.stderr, flush=True)
        training += record(folder / "after", epochs, length)
    trained = statistics.median(training) * intervals
    one, two, sampled = (statistics.median(work[name]) for name in kinds)
    speed_up = statistics.median(a / b for a, b in zip(work["one"], work["two"], strict=True))
    share = drawn / intervals
    results = [
        make_result(
            f"{JOB.name}: audit of {intervals} intervals by 2 workers against 1; speed-up, start-up apart; seconds",
            two, one, speed_up, 1.7, at_least=True, start_up=statistics.median(start_up["two"]),
            processor=statistics.median(processor["two"]),
        ),
        make_result(
            f"{JOB.name}: audit of {drawn} of {intervals} intervals over {drawn}/{intervals} of training, "
            "start-up apart; seconds",
            sampled, share * trained, sampled / (share * trained), 1.1, start_up=statistics.median(start_up["sample"]),
            processor=statistics.median(processor["sample"]),
        ),
        make_result(
            f"{JOB.name}: audit of all intervals by 1 worker over training, start-up apart; seconds",
            one, trained, one / trained, None, start_up=statistics.median(start_up["one"]),
            processor=statistics.median(processor["one"]),
        ),
    ]  # fmt: skip
    return print_report("audit", results, torch=torch.__version__, steps=intervals * length, rounds=rounds)


if __name__ == "__main__":
    sys.exit(main())
