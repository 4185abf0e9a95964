"""Whether anything can be baked into a recorded step without a word.

Each trap of `trap_scenes` is recorded beside the same code in plain eager PyTorch with the same draws, from the same
start and on the same batches. A trap is *lifted* if every loss and the final state have eager's bits and the run
replays; *refused* if recording stops with a reason and a cure before anything wrong is written; else it is *silent*,
and one silent trap fails the benchmark.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

import assay
from assay.errors import AssayError
from assay.protocol.evidence.randomness import STEP, derive_key
from assay.training.pytorch.backend import TorchBackend
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer
from benchmarks import (  # noqa: F401 - they list their traps
    traps_of_optimizers,
    traps_of_python,
    traps_of_scripts,
    traps_of_settings,
    traps_of_torch,
)
from benchmarks.reference import InjectedDraws, is_equal
from benchmarks.report import make_result, print_report
from benchmarks.trap_scenes import TRAPS, Scene

SEED = (11).to_bytes(32, "little")
LIFTED, REFUSED, SILENT = "lifted", "refused", "silent"


@dataclass(frozen=True)
class Caught:
    """What became of one trap.

    Attributes:
        name: of its maker.
        what: its sentence.
        outcome: lifted, refused or silent.
        detail: the refusal, or what differs.
        code: of the refusal.
    """

    name: str
    what: str
    outcome: str
    detail: str = ""
    code: str = ""


def make_data() -> TensorDataset:
    """Return 48 samples: twelve batches of four, all full."""
    generator = torch.Generator().manual_seed(5)
    return TensorDataset(torch.randn(48, 4, generator=generator), torch.randint(0, 3, (48,), generator=generator))


def make_scene(maker: Callable[[], Scene]) -> Scene:
    """Return a fresh scene from one fixed start."""
    torch.manual_seed(3)
    return maker()


def record(scene: Scene, folder: Path) -> tuple[list[list[torch.Tensor]], list[torch.Tensor], AssayError | None]:
    """Record a scene; return the batches and losses of the steps that were kept, and the refusal."""
    batches: list[list[torch.Tensor]] = []
    losses: list[torch.Tensor] = []
    run = assay.start(folder, seed=SEED, checkpoint_every=6)
    try:
        loader = run.loader(make_data(), batch_size=4)
        step = run.step(models=[scene.net], optimizers=[scene.optimizer])(scene.body)
        for _ in run.epochs(-(-scene.steps // len(loader))):
            for batch in loader:
                if len(losses) == scene.steps:
                    break
                scene.before(len(losses) + 1)
                kept = [field.clone() for field in batch]
                losses.append(step(batch).detach().clone())
                batches.append(kept)
            if len(losses) == scene.steps:
                break
        run.finish()
    except AssayError as error:
        run.close()
        return batches, losses, error
    return batches, losses, None


def find_differences(scene: Scene, batches: list[list[torch.Tensor]], losses: list[torch.Tensor]) -> list[str]:
    """Run the scene in plain eager on these batches; return the losses that differ."""
    differing = []
    for number, (batch, loss) in enumerate(zip(batches, losses, strict=True), 1):
        scene.before(number)
        with InjectedDraws(derive_key(SEED, STEP, number)):
            expected = scene.body([field.clone() for field in batch]).detach()
        if not is_equal(expected, loss):
            differing.append(f"loss {number}")
    return differing


def replay(folder: Path) -> list[str]:
    """Replay a run from its start and every checkpoint; return the steps that differ."""
    run = RecordedRun(folder)
    try:
        replayer = Replayer(run, TorchBackend(run.start.aliases))
        found = []
        for base, end in pairwise(sorted({0, *run.directory.checkpoints.list_steps(), run.steps})):
            replayer.load(base)
            difference = replayer.replay(base, end)
            if difference is not None:
                found.append(f"replay of step {difference.step}")
        return found
    finally:
        run.close()


def spring(maker: Callable[[], Scene]) -> Caught:
    """Record one trap and say what became of it."""
    what = (maker.__doc__ or "").strip()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        scene = make_scene(maker)
        batches, losses, refusal = record(scene, folder)
        restore_modes()
        other = make_scene(maker)
        differing = find_differences(other, batches, losses)
        restore_modes()
        if refusal is None:
            differing += [
                name
                for (name, ours), theirs in zip(
                    scene.net.state_dict().items(), other.net.state_dict().values(), strict=True
                )
                if not is_equal(ours, theirs)
            ]
            if not differing:
                differing += replay(folder)
    if differing:
        return Caught(maker.__name__, what, SILENT, ", ".join(differing[:5]))
    if refusal is None:
        return Caught(maker.__name__, what, LIFTED)
    if not refusal.next_step:
        return Caught(maker.__name__, what, SILENT, f"refused without a cure: {refusal.message}")
    return Caught(maker.__name__, what, REFUSED, refusal.message, refusal.code)


def restore_modes() -> None:
    """Set the modes of torch that traps change back to their defaults."""
    torch.set_default_dtype(torch.float32)
    torch.set_autocast_enabled("cpu", False)


def judge(caught: list[Caught]) -> list[dict[str, Any]]:
    """Return the lines of the report."""
    counts = Counter(one.outcome for one in caught)
    details = {one.name: f"{one.outcome}: {one.detail}" if one.detail else one.outcome for one in caught}
    return [
        make_result("traps that were recorded", len(caught), None, len(caught), 30, at_least=True),
        make_result(
            "traps that were silent", counts[SILENT], len(caught), counts[SILENT], 0,
            lifted=counts[LIFTED], refused=counts[REFUSED], details=details,
        ),
    ]  # fmt: skip


def main() -> int:
    """Print one JSON object; the exit status says whether no trap was silent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="traps whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    caught = []
    for maker in TRAPS:
        if options.only and options.only not in maker.__name__:
            continue
        one = spring(maker)
        print(f"{one.outcome:8s} {one.name}  {one.detail[:160]}", file=sys.stderr, flush=True)
        caught.append(one)
    return print_report("traps", judge(caught), torch=torch.__version__)


if __name__ == "__main__":
    sys.exit(main())
