"""What a run takes on the disk, and how far any interval lies from a stored state.

A CNN and a transformer under AdamW are recorded whole. By default a run keeps at most 20 states, counted as manifests
and measured in bytes, and 400 bytes a step for everything else but the data set and the programs, which do not grow
with the run and are printed. A start that is not made by a program is stored and counts as a state.

The end of any interval is recomputed from the nearest stored state at or before its beginning; the start can always be
had. With the start made by a program, twenty states are just enough for 5 % of training. With a stored start twenty
states leave nineteen gaps, of which one must be above 5 %; and while the length of a run is not known no choice of
twenty states can be right at every length. Those two figures are printed and have no bar.

Low-rank adapters are learned beside a frozen transformer. Tensors that do not change are stored once: two lines say
what a further checkpoint takes over a whole state of that run, and what all checkpoints take over those of the same
transformer trained whole, under the same optimizer and at the same steps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

import assay
from assay.protocol.evidence.model_state import PARAM
from assay.training.recorded import RecordedRun
from benchmarks.report import make_result, print_report
from benchmarks.zoo import Case, ConvNet, Decoder, adamw, make_step, sgd, text_batches
from benchmarks.zoo_models import AdaptedDecoder

MAX_STATES = 20
BYTES_A_STEP = 400
SHARE = 0.05
FROZEN = 0.95
LOW_RANK_SHARE = 0.06


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        name: in words.
        case: what is trained.
        share: interval length as a share of the run; None: the default.
        known: whether the number of steps is known beforehand.
        declared: whether the start is declared, not made by a program.
        judged: whether the distance has a bar.
    """

    name: str
    case: Case
    share: float | None = None
    known: bool = True
    declared: bool = False
    judged: bool = True


CNN = Case("cnn", ConvNet, sgd(momentum=0.9, nesterov=True, weight_decay=5e-4))
TRANSFORMER = Case("transformer", lambda: Decoder(width=32), adamw, batches=text_batches)
WIDE = Case("wide transformer", lambda: Decoder(width=128), adamw, batches=text_batches)
ADAPTED = Case("low-rank adapters", AdaptedDecoder, adamw, batches=text_batches)
PLANS = (
    Plan("CNN, default", CNN),
    Plan("CNN, intervals of 1 %", CNN, share=0.01),
    Plan("CNN, declared start", CNN, declared=True, judged=False),
    Plan("CNN, unknown number of steps", CNN, known=False, judged=False),
    Plan("transformer under AdamW, default", TRANSFORMER),
    Plan("transformer under AdamW, intervals of 1 %", TRANSFORMER, share=0.01),
    Plan("transformer under AdamW, declared start", TRANSFORMER, declared=True, judged=False),
    Plan("transformer under AdamW, unknown number of steps", TRANSFORMER, known=False, judged=False),
)


def record(plan: Plan, folder: Path, steps: int) -> None:
    """Record a run of `steps` steps, a multiple of 10."""
    every = max(1, round(plan.share * steps)) if plan.share else (None if plan.known else steps // 40)
    run = assay.start(folder, seed=0, checkpoint_every=every)
    if plan.declared:
        net = plan.case.make()
    else:
        with run.init():
            net = plan.case.make()
    net.train()
    optimizer = plan.case.optimizer(net)
    batches = plan.case.batches(0)
    taken = [next(batches) for _ in range(10)]
    data = TensorDataset(*(torch.cat(fields) for fields in zip(*taken, strict=True)))
    loader = run.loader(data, batch_size=len(taken[0][0]))
    step = run.step(models=[net], optimizers=[optimizer])(make_step(plan.case, net, optimizer))

    def iterate_epochs() -> Iterator[int]:
        return run.epochs(steps // 10) if plan.known else iter(range(steps // 10))

    for _ in iterate_epochs():
        for batch in loader:
            step(batch)
    run.finish()


@dataclass(frozen=True)
class Sizes:
    """Bytes of a run by what they are for, the number of stored states, and the largest distance in steps.

    `state` is what the last state takes: its tensors and the manifest that lists them; `first` likewise, of the first.
    """

    states: int
    steps_bytes: int
    fixed_bytes: int
    tensors: int
    state: int
    first: int
    count: int
    distance: int


def measure(folder: Path) -> Sizes:
    """Return what a finished run takes."""
    run = RecordedRun(folder)
    stored = run.directory.checkpoints.list_steps()
    tensors, first = (
        sum(record.nbytes for record in run.directory.checkpoints.read_manifest(step).records)
        for step in (stored[-1], stored[0])
    )
    manifest, first_manifest = (
        (folder / "checkpoints" / f"{step}.bin").stat().st_size for step in (stored[-1], stored[0])
    )
    bases = sorted({0, *stored})
    intervals = [run.get_interval(index) for index in range(run.intervals)]
    distance = max(end - max(base for base in bases if base <= first) for first, end in intervals)
    run.close()
    sizes = {"states": 0, "steps": 0, "fixed": 0}
    for path in folder.rglob("*"):
        if path.is_file() and "data" not in path.relative_to(folder).parts:
            parts = path.relative_to(folder).parts
            kind = {"checkpoints": "states", "packs": "states", "programs": "fixed"}.get(parts[0], "steps")
            sizes[kind] += path.stat().st_size
    state, start = tensors + manifest, first + first_manifest
    return Sizes(sizes["states"], sizes["steps"], sizes["fixed"], tensors, state, start, len(stored), distance)


def read_trained_share(folder: Path) -> float:
    """Return the elements of parameters that a finished run changed, over all of them."""
    run = RecordedRun(folder)
    checkpoints = run.directory.checkpoints
    first, *_, last = (checkpoints.read_manifest(step).records for step in checkpoints.list_steps())
    run.close()
    before = {record.name: record.digest for record in first if record.namespace == PARAM}
    parameters = [record for record in last if record.namespace == PARAM]
    changed = sum(record.nbytes for record in parameters if record.digest != before[record.name])
    return changed / sum(record.nbytes for record in parameters)


def judge_low_rank(steps: int) -> list[dict[str, Any]]:
    """Return what checkpoints of low-rank adapters take over full ones."""
    sizes, trained = {}, 1.0
    for case in (WIDE, ADAPTED):
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "run"
            record(Plan(case.name, case, declared=True), folder, steps)
            sizes[case.name] = measure(folder)
            if case is ADAPTED:
                trained = read_trained_share(folder)
    whole, adapted = sizes[WIDE.name], sizes[ADAPTED.name]
    rest: dict[str, Any] = {"frozen_share": round(1 - trained, 4), "checkpoints": adapted.count, "steps": steps}
    added = (adapted.states - adapted.first) / (adapted.count - 1)
    return [
        make_result(f"{ADAPTED.name}: frozen parameters over all, at least", 1 - trained, FROZEN,
                    FROZEN / (1 - trained), 1.0, digits=4, **rest),
        make_result(f"{ADAPTED.name}: bytes of a further checkpoint over a whole state of the same run",
                    added, adapted.state, added / adapted.state, LOW_RANK_SHARE, digits=4, **rest),
        make_result(f"{ADAPTED.name}: bytes of all checkpoints over those of the same model trained whole",
                    adapted.states, whole.states, adapted.states / whole.states, LOW_RANK_SHARE, digits=4, **rest),
    ]  # fmt: skip


def judge(plan: Plan, sizes: Sizes, steps: int) -> list[dict[str, Any]]:
    """Return the lines of one run."""
    allowed = MAX_STATES * sizes.state + BYTES_A_STEP * steps
    total = sizes.states + sizes.steps_bytes
    rest = {
        "states_bytes": sizes.states,
        "other_bytes": sizes.steps_bytes,
        "program_bytes": sizes.fixed_bytes,
        "state_bytes": sizes.state,
        "of_which_tensors": sizes.tensors,
        "steps": steps,
    }
    what = f"{plan.name}: bytes on the disk over {MAX_STATES} states and {BYTES_A_STEP} bytes a step"
    share = sizes.distance / steps
    return [
        make_result(f"{plan.name}: stored states", sizes.count, MAX_STATES, sizes.count, MAX_STATES),
        make_result(what, total, allowed, total / allowed, 1.0, **rest),
        make_result(
            f"{plan.name}: steps from the nearest stored state to the end of any interval, over all steps",
            sizes.distance, steps, share, SHARE if plan.judged else None, digits=4,
        ),
    ]  # fmt: skip


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="runs of 200 steps instead of 1,000")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = 200 if options.quick else 1000
    results = judge_low_rank(steps)
    for line in results:
        print(f"{line['ratio']:9.4f}  {line['what']}", file=sys.stderr, flush=True)
    for plan in PLANS:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "run"
            record(plan, folder, steps)
            lines = judge(plan, measure(folder), steps)
        for line in lines:
            print(f"{line['ratio']:9.4f}  {line['what']}", file=sys.stderr, flush=True)
        results += lines
    return print_report("storage", results, torch=torch.__version__)


if __name__ == "__main__":
    sys.exit(main())
