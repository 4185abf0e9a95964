"""Whether a captured step is the user's step.

For a fixed list of models and optimizers: 200 steps are recorded by `assay`. Beside each, the same code runs in eager
PyTorch with the same draws and flags, and once more in binary64 from the same start. Counted are the cases in which
every tensor of the state and the loss have eager's bits after every step; a refusal is no equality. Everywhere our
distance from binary64 must be at most 1.5 times eager's, per tensor. Twelve planted mistakes must break that. Each run
is then replayed in a fresh process from its start and from every checkpoint.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

import assay
from assay.errors import CaptureRefused
from assay.protocol.evidence.randomness import STEP, derive_key
from benchmarks.planted import plant_all
from benchmarks.reference import EagerCopy, compute_excess, find_differing, get_state, is_equal
from benchmarks.report import make_result, print_report
from benchmarks.zoo import CASES, Case, image_batches, list_optimizers, make_step
from benchmarks.zoo_cases import MODELS, OPTIMIZERS, STEPS

SEED = (7).to_bytes(32, "little")
LARGEST_EXCESS = 1.5
SHARE_EQUAL = 0.8
QUICK_CASES = ("mlp adam", "cnn nesterov", "residual adamw", "encoder sgd clip", "decoder sdpa adamw clip")


@dataclass
class Finding:
    """What one case gave.

    Attributes:
        equal_steps: steps after which every bit was eager's.
        steps: steps that were carried out.
        excess: the largest ratio of distances, over tensors and steps.
        where: tensor and step of it.
        difference: the first tensor that had other bits, and the step; or why the case was refused.
        seconds: each recorded step, capture and checks beside included.
    """

    equal_steps: int = 0
    steps: int = 0
    excess: float = 0.0
    where: str = ""
    difference: str = ""
    seconds: list[float] = field(default_factory=list)


def make_data(case: Case) -> tuple[TensorDataset, int]:
    """Return a data set of eight batches and the batch size; images have a last batch that is not full."""
    batches = case.batches(0)
    taken = [next(batches) for _ in range(8)]
    size = len(taken[0][0])
    keep = 8 * size - (5 if case.batches is image_batches else 0)
    return TensorDataset(*(torch.cat(fields)[:keep] for fields in zip(*taken, strict=True))), size


def run_case(case: Case, folder: Path, steps: int, checkpoint_every: int, measure_every: int) -> Finding:
    """Record a case in `folder`, eager beside it, and compare."""
    finding = Finding()
    run = assay.start(folder, seed=SEED, checkpoint_every=checkpoint_every)
    with run.init():
        net = case.make()
    net.train()
    optimizer = list_optimizers(case.optimizer(net))
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(each, lambda step: min(1.0, (step + 1) / 20) * 0.995**step)
        for each in optimizer
    ]
    dataset, size = make_data(case)
    loader = run.loader(dataset, batch_size=size)
    step = run.step(models=[net], optimizers=optimizer)(make_step(case, net, optimizer))
    eager, reference = EagerCopy(case, torch.float32), EagerCopy(case, torch.float64)
    eager.load(net, optimizer)
    try:
        for _ in run.epochs(-(-steps // len(loader))):
            for batch in loader:
                number = run.step_number + 1
                eager.follow(optimizer)
                if finding.difference:
                    eager.load(net, optimizer)
                measured = number % measure_every == 0 or number <= 3
                reference.load(net, optimizer)
                start = time.perf_counter()
                loss = step(batch)
                finding.seconds.append(time.perf_counter() - start)
                key = derive_key(SEED, STEP, number)
                expected = eager.step(batch, key)
                _compare(
                    finding, number, get_state(net, optimizer), eager.get_state(), same_loss=is_equal(loss, expected)
                )
                if measured or finding.difference:
                    exact_loss = reference.step(batch, key)
                    ours, theirs, exact = get_state(net, optimizer), eager.get_state(), reference.get_state()
                    for state, value in ((ours, loss), (theirs, expected), (exact, exact_loss)):
                        state[-1, "loss"] = value
                    excess, name = compute_excess(ours, theirs, exact)
                    if excess > finding.excess:
                        finding.excess, finding.where = excess, f"{name}, step {number}"
                for scheduler in schedulers:
                    scheduler.step()
                if number == steps:
                    break
            if run.step_number == steps:
                break
        run.finish()
    except CaptureRefused as error:
        finding.difference = f"refused: {error}"
        run.close()
    return finding


def _compare(finding: Finding, step: int, ours: Any, theirs: Any, *, same_loss: bool) -> None:
    finding.steps = step
    differing = find_differing(ours, theirs) + ([] if same_loss else ["loss"])
    if not differing:
        finding.equal_steps += 1
    elif not finding.difference:
        finding.difference = f"{differing[0]}, step {step}"


def replay(folder: Path) -> tuple[int, int, str]:
    """Replay a run in a fresh process from the start and every checkpoint; return equal intervals, all, what failed."""
    command = [sys.executable, "-m", "benchmarks.replay_run", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=1800)
    words = done.stdout.split()
    if done.returncode != 0 or len(words) != 2:
        return 0, 1, done.stderr[-500:]
    return int(words[0]), int(words[1]), ""


def judge_cases(cases: list[Case], steps: int, checkpoint_every: int, measure_every: int) -> list[dict[str, Any]]:
    """Return the lines about the cases and their replays."""
    lines, equal, intervals, reproduced, logs = [], 0, 0, 0, []
    for case in cases:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "run"
            finding = run_case(case, folder, steps, checkpoint_every, measure_every)
            is_refused = finding.difference.startswith("refused")
            same, total, log = (0, 0, "") if is_refused else replay(folder)
        is_same = finding.equal_steps == finding.steps == steps
        equal, intervals, reproduced = equal + is_same, intervals + total, reproduced + same
        logs += [f"{case.name}: {log}"] if log else []
        later = finding.seconds[len(finding.seconds) // 2 :]
        line = make_result(
            f"{case.name}: distance from binary64 over eager's, largest of all tensors and steps", finding.excess, 1.0,
            finding.excess, LARGEST_EXCESS, where=finding.where, bit_equal_steps=finding.equal_steps, steps=steps,
            first_difference=finding.difference, capture_seconds=round(sum(finding.seconds[:2]), 2),
            step_seconds=round(statistics.median(later), 5) if later else None,
        )  # fmt: skip
        line["met"] = line["met"] and not is_refused
        print(
            f"{finding.equal_steps:4d} of {steps} equal, excess {finding.excess:.3f}, replayed {same} of {total}, "
            f"capture {sum(finding.seconds[:2]):.1f} s  {case.name} {finding.difference}",
            file=sys.stderr,
            flush=True,
        )
        lines.append(line)
    share = equal / len(cases)
    lines.append(
        make_result(
            f"cases bit-equal to eager over {steps} steps", equal, len(cases), share, SHARE_EQUAL, at_least=True
        )
    )
    share = reproduced / intervals if intervals else 0.0
    what = "intervals replayed to the same bits in a fresh process, from the start and every checkpoint"
    lines.append(make_result(what, reproduced, intervals, share, 1.0, at_least=True, failures=logs))
    return lines


def judge_mistakes() -> list[dict[str, Any]]:
    """Return the lines about the planted mistakes: all must exceed the bar, the unchanged programs must not."""
    findings = plant_all(SEED)
    mistakes = [f for f in findings if f.is_mistake]
    caught = [f for f in mistakes if f.excess > LARGEST_EXCESS]
    controls = [f for f in findings if not f.is_mistake]
    held = [f for f in controls if f.excess <= LARGEST_EXCESS]
    details = {f.name: {"excess": f"{f.excess:.3g}", "tensor": f.tensor} for f in findings}
    for found in findings:
        print(f"{found.excess:12.3g}  {found.name}  ({found.tensor})", file=sys.stderr, flush=True)
    return [
        make_result(
            "planted mistakes that the distances show", len(caught), len(mistakes), len(caught) / len(mistakes), 1.0,
            at_least=True, details=details,
        ),
        make_result(
            "unchanged programs that the distances leave alone", len(held), len(controls), len(held) / len(controls),
            1.0, at_least=True,
        ),
    ]  # fmt: skip


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five cases of 30 steps")
    parser.add_argument("--only", help="cases whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for case in (*CASES, *OPTIMIZERS, *MODELS, *STEPS) if not options.quick or case.name in QUICK_CASES]
    cases = [case for case in cases if not options.only or options.only in case.name]
    steps, every, measure_every = (30, 10, 5) if options.quick else (200, 20, 1)
    lines = judge_cases(cases, steps, every, measure_every)
    return print_report("capture", [*lines, *judge_mistakes()], torch=torch.__version__)


if __name__ == "__main__":
    sys.exit(main())
