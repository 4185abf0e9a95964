"""What an audit costs: two workers against one, and k of N intervals against training.

A transformer of 0.4M parameters is recorded for 20 intervals, and audited by one worker, by two, and by one that draws
5 intervals, in turn. Start-up is apart: a round's clock starts when all its workers have loaded torch and the data,
found their known answers right, and wait for their first task; it ends with the last finding. Building executors,
loading states and hashing are inside. The start-up itself is printed. Training time is that of the recorded steps
themselves, with everything on: the median over the intervals of two recordings, one before and one after the audits,
without the first two intervals, in which programs are captured.
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
from assay.training.pytorch.profile import environment_for
from assay.verification.audit import audit_run
from assay.verification.tasks import Ready
from assay.verification.worker_process import WorkerProcess
from benchmarks.record import JOBS, make_body, make_scheduler
from benchmarks.report import make_result, print_report

JOB = next(job for job in JOBS if "0.4M" in job.name)
INTERVALS, SAMPLE = 20, 5
CAPTURING = 2
"""Intervals at the beginning in which programs are captured and eager runs beside."""


def record(folder: Path, length: int) -> list[float]:
    """Record a run of `INTERVALS` intervals; return the seconds of each interval after the first ones."""
    torch.set_num_threads(1)
    run = assay.start(folder, seed=0, checkpoint_every=length)
    with run.init():
        net = JOB.make()
    optimizer = JOB.optimizer(net)
    scheduler = make_scheduler(optimizer)
    loader = run.loader(TensorDataset(*JOB.data()), batch_size=JOB.batch_size)
    step = run.step(models=[net], optimizers=[optimizer])(make_body(JOB, net, optimizer))
    taken, begun = [], time.perf_counter()
    for _ in run.epochs(-(-INTERVALS * length // len(loader))):
        net.train()
        for batch in loader:
            if run.step_number == INTERVALS * length:
                break
            step(batch)
            scheduler.step()
            if run.step_number % length == 0:
                now = time.perf_counter()
                taken.append(now - begun)
                begun = now
    run.finish()
    return taken[CAPTURING:]


def audit(folder: Path, auditor: bytes, workers: int, sample: int) -> tuple[float, float]:
    """Audit a run; return the seconds of start-up and those from the moment that all workers are ready."""
    ready_at: list[float] = []
    barrier = threading.Barrier(workers, lambda: ready_at.append(time.perf_counter()))
    await_ready = WorkerProcess.await_ready

    def wait_for_all(worker: WorkerProcess) -> Ready | None:
        ready = await_ready(worker)
        barrier.wait(timeout=300)
        return ready

    begun = time.perf_counter()
    with mock.patch.object(WorkerProcess, "await_ready", wait_for_all):
        found = audit_run(folder, auditor=auditor, environment=environment_for, workers=workers, sample=sample)
    ended = time.perf_counter()
    if not found.is_complete or any(answer.result != "matches" for answer in found.answers.values()):
        raise RuntimeError("the audit of an honest run did not match")
    return ready_at[0] - begun, ended - ready_at[0]


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round over shorter intervals")
    options = parser.parse_args()
    length, rounds = (8, 1) if options.quick else (24, 3)
    kinds = {"one": (1, INTERVALS), "two": (2, INTERVALS), "sample": (1, SAMPLE)}
    work: dict[str, list[float]] = {name: [] for name in kinds}
    start_up: dict[str, list[float]] = {name: [] for name in kinds}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-audit-")))
        os.environ["ASSAY_HOME"] = str(folder / "home")
        training = record(folder / "before", length)
        for number in range(rounds):
            for name, (workers, sample) in kinds.items():
                apart, seconds = audit(folder / "before", bytes([number]) * 32, workers, sample)
                start_up[name].append(apart)
                work[name].append(seconds)
                print(f"{name}: start-up {apart:.2f} s, work {seconds:.2f} s", file=sys.stderr, flush=True)
        training += record(folder / "after", length)
    trained = statistics.median(training) * INTERVALS
    one, two, sampled = (statistics.median(work[name]) for name in kinds)
    speed_up = statistics.median(a / b for a, b in zip(work["one"], work["two"], strict=True))
    share = SAMPLE / INTERVALS
    results = [
        make_result(
            f"{JOB.name}: audit of {INTERVALS} intervals by 2 workers against 1; speed-up, start-up apart; seconds",
            two, one, speed_up, 1.7, at_least=True, start_up=statistics.median(start_up["two"]),
        ),
        make_result(
            f"{JOB.name}: audit of {SAMPLE} of {INTERVALS} intervals over {SAMPLE}/{INTERVALS} of training, "
            "start-up apart; seconds",
            sampled, share * trained, sampled / (share * trained), 1.1, start_up=statistics.median(start_up["sample"]),
        ),
        make_result(
            f"{JOB.name}: audit of all intervals by 1 worker over training, start-up apart; seconds",
            one, trained, one / trained, None, start_up=statistics.median(start_up["one"]),
        ),
    ]  # fmt: skip
    return print_report("audit", results, torch=torch.__version__, steps=INTERVALS * length, rounds=rounds)


if __name__ == "__main__":
    sys.exit(main())
