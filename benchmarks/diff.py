"""Whether `assay diff` names the planted cause first, and what it costs on long runs.

Causes: the same script is recorded with one thing changed, and the first finding must be that thing. Two causes cannot
be had by running on one machine and are written into the rows of an honest run instead: another version of PyTorch (the
profile names it, and losses differ from step 7 on), and other bits for no recorded reason.

Speed: two runs of 100,000 steps that part at step 50,000. The baseline is reading both logs from the disk, their pages
dropped from the page cache before every round, ours too; then the same with everything cached, where reading is a copy
of memory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.plan import Plan, Profile, Setting, compute_plan_id, compute_profile_id
from assay.protocol.evidence.transcript import StepParts, compute_step_id, rebuild_leaf
from assay.storage.step_rows import frame_mark, frame_row
from assay.training.compare.chain_check import verify_chain
from assay.training.compare.runs import compare_runs, compare_sides
from assay.training.compare.side import Side, open_sides
from assay.training.recorder import Chain, StepResult
from assay.verification.difference import explain_difference
from benchmarks.differing import BATCH, SAMPLES, record, record_apart
from benchmarks.report import make_result, print_report

PARTS_AT = 50_000
TRUSTING, VERIFYING = 1.0, 30.0


def change_sample(inputs: torch.Tensor, _: torch.Tensor) -> None:
    """Change one element of one sample."""
    inputs[17, 3] += 1e-3


def change_label(_: torch.Tensor, labels: torch.Tensor) -> None:
    """Change one label."""
    labels[5] = (labels[5] + 1) % 3


def normalise(inputs: torch.Tensor, _: torch.Tensor) -> None:
    """Shift every sample."""
    inputs += 0.01


def edit_weights(net: torch.nn.Module, _: torch.optim.Optimizer, run: Any) -> None:
    """Halve the weights before step 5, declared."""
    if run.step_number == 4:
        with run.edit("halve the weights"), torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(0.5)


CHANGED: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "order: no shuffling": ({"shuffle": False}, ("order", "order function")),
    "one sample changed": ({"change": change_sample}, ("data", "one sample")),
    "one label changed": ({"change": change_label}, ("data", "one label")),
    "all samples normalised otherwise": ({"change": normalise}, ("data", "samples")),
    "seed": ({"seed": 2}, ("seed", "seed")),
    "rate": ({"rate": 0.11}, ("scalars", "rate")),
    "rate from step 8 on": ({"rate": lambda step: 0.1 if step < 8 else 0.05}, ("scalars", "rate")),
    "weight decay": ({"decay": 2e-3}, ("scalars", "weight decay")),
    "no weight decay": ({"decay": 0.0}, ("program", "weight decay")),
    "initialisation": ({"scale": 2.0}, ("start", "initialisation")),
    "dropout off": ({"dropout": 0.0}, ("program", "dropout")),
    "data augmentation": ({"noise": 0.1}, ("program", "augmentation")),
    "declared edit": ({"each": edit_weights}, ("edit", "declared edit")),
    "another optimizer": ({"adam": True}, ("program", "optimizer")),
}


def relink(
    source: Path,
    target: Path,
    change: Callable[[StepParts], StepParts],
    profile: Callable[[dict[str, str]], dict[str, str]] | None = None,
) -> None:
    """Copy a run with changed rows and, perhaps, another profile; its leaves fit together, it is not signed."""
    shutil.copytree(source, target)
    for name in ("closing.bin", "signature.bin"):
        (target / name).unlink()
    side = Side(source)
    plan = decode((source / "plan.bin").read_bytes(), Plan)
    if profile is not None:
        settings = profile({setting.name: setting.value for setting in side.profile.settings})
        changed = Profile(0, side.profile.kind, tuple(Setting(*item) for item in sorted(settings.items())))
        plan = msgspec.structs.replace(plan, profile=compute_profile_id(changed))
        (target / "profile.bin").write_bytes(encode(changed))
        (target / "plan.bin").write_bytes(encode(plan))
    chain = Chain(compute_plan_id(plan), side.start.context, side.start.state_root)
    frames = []
    for row in side.iterate_rows():
        scalars = row.scalars or b""
        parts = change(row.parts)
        leaf = compute_step_id(rebuild_leaf(parts, row.program, chain.leaves[-1], scalars))
        chain.accept(msgspec.structs.replace(parts, leaf=leaf), scalars)
        frames.append(frame_row(msgspec.structs.replace(parts, leaf=leaf)))
    (target / "steps.log").write_bytes(b"".join(frames))


def change_result(parts: StepParts) -> StepParts:
    """Give steps from 7 on another loss, as another build of PyTorch does."""
    if parts.step < 7:
        return parts
    loss = bytes([parts.loss[0][0] ^ 1]) + parts.loss[0][1:]
    return msgspec.structs.replace(parts, loss=(loss,), loss_root=hashlib.sha256(parts.loss_root).digest())


def plant(folder: Path) -> list[tuple[str, Path, Path, tuple[str, str]]]:
    """Record all pairs; return (cause, A, B, (kind, name)) of each."""
    base = folder / "base"
    record(base)
    pairs = []
    for number, (cause, (changes, expected)) in enumerate(CHANGED.items()):
        record(folder / f"changed-{number}", **changes)
        pairs.append((cause, base, folder / f"changed-{number}", expected))
    for threads in (1, 2):
        record(folder / f"threads-{threads}", penalty=1_000_000, threads=threads)
    pairs.append(("thread count", folder / "threads-1", folder / "threads-2", ("environment", "threads")))
    record_apart(folder / "capability", ATEN_CPU_CAPABILITY="default")
    pairs.append(("CPU capability", base, folder / "capability", ("environment", "cpu.capability")))
    relink(base, folder / "library", change_result, lambda settings: {**settings, "torch.version": "2.12.0"})
    pairs.append(("library version", base, folder / "library", ("environment", "torch.version")))
    relink(base, folder / "bits", change_result)
    pairs.append(("other bits for no recorded reason", base, folder / "bits", ("arithmetic", "results")))
    return [*pairs, *plant_resumptions(folder)]


def plant_resumptions(folder: Path) -> list[tuple[str, Path, Path, tuple[str, str]]]:
    """Record runs that go on from the model of another one by hand."""
    per_epoch = SAMPLES // BATCH
    whole, options = folder / "whole", {"checkpoint_every": per_epoch}
    record(whole, options=options)
    net, optimizer = record(folder / "half", options=options, epochs=1)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    record(folder / "forgotten", options=options, epochs=1, weights=weights)
    record(folder / "again", options=options, epochs=1, weights=weights, slots=optimizer.state_dict())
    return [
        ("resumed without optimizer state", whole, folder / "forgotten", ("start", "optimizer state")),
        ("resumed at epoch 0's order", whole, folder / "again", ("order", "order begins again")),
    ]


def judge_causes(folder: Path) -> list[dict[str, Any]]:
    """Return one line for each cause: whether it was named first."""
    lines = []
    for cause, a, b, expected in plant(folder):
        found = compare_runs(a, b).findings[0]
        named = (found.kind, found.name, found.role) == (*expected, "cause")
        lines.append(
            make_result(
                f"{cause}: named first",
                int(named),
                1,
                float(named),
                1.0,
                at_least=True,
                said=f"{found.kind}: {found.name}",
            )
        )
    where = explain_difference(folder / "base", folder / "capability").operator
    lines.append(
        make_result(
            "CPU capability: first operator found by replay", int(where is not None), 1, float(where is not None), 1.0,
            at_least=True, said="" if where is None else f"step {where.step}, node {where.node}: {where.operator}",
        )
    )  # fmt: skip
    return lines


def make_long(source: Path, target: Path, steps: int, parts_at: int) -> None:
    """Write a run of many steps that fits together; its digests are made up, its losses change at `parts_at`."""
    shutil.copytree(source, target)
    for name in ("closing.bin", "signature.bin"):
        (target / name).unlink()
    shutil.rmtree(target / "checkpoints")
    (target / "checkpoints").mkdir()
    side = Side(source)
    first, second = side.read_row(1), side.read_row(2)
    chain = Chain(side.plan_id, side.start.context, side.start.state_root)
    frames = []
    for step in range(1, steps + 1):
        like = first if step == 1 else second
        digest = hashlib.sha256(step.to_bytes(8, "little")).digest()
        other = hashlib.sha256(digest).digest()
        loss = other if step >= parts_at else digest
        result = StepResult(
            like.parts.program, digest, other, like.scalars or b"", (loss[:4],), loss, digest if step % 10 == 0 else b""
        )
        parts = chain.link(step, result, like.program)
        chain.accept(parts, result.row)
        frames.append(frame_row(parts) + (frame_mark(step) if step % 2000 == 0 else b""))
    (target / "steps.log").write_bytes(b"".join(frames))


def drop_pages(paths: list[Path]) -> None:
    """Have the operating system forget the cached pages of these logs."""
    for path in paths:
        number = os.open(path / "steps.log", os.O_RDONLY)
        os.fsync(number)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def read_logs(paths: list[Path]) -> None:
    """Read both logs."""
    for path in paths:
        (path / "steps.log").read_bytes()


def trust(paths: list[Path]) -> None:
    """Compare, believing stored leaves."""
    found = compare_runs(*paths)
    if found.first_step != PARTS_AT:
        raise RuntimeError(f"found step {found.first_step}")


def verify(paths: list[Path]) -> None:
    """Recompute all leaves, then compare."""
    a, b = open_sides(*paths)
    verify_chain(a)
    verify_chain(b)
    if compare_sides(a, b, verified=True).first_step != PARTS_AT:
        raise RuntimeError("found another step")


def judge_speed(folder: Path, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Return the lines about speed."""
    paths = [folder / "long-a", folder / "long-b"]
    make_long(folder / "base", paths[0], steps, steps + 1)
    make_long(folder / "base", paths[1], steps, PARTS_AT)
    lines = []
    for cold in (True, False):
        seconds: dict[str, list[float]] = {"read": [], "trust": [], "verify": []}
        for _ in range(rounds):
            for name, work in (("read", read_logs), ("trust", trust), ("verify", verify)):
                if cold:
                    drop_pages(paths)
                begun = time.perf_counter()
                work(paths)
                seconds[name].append(time.perf_counter() - begun)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        how = "from the disk" if cold else "cached"
        for name, what, bar in (
            ("trust", "trusting stored leaves", TRUSTING),
            ("verify", "recomputing all leaves", VERIFYING),
        ):
            lines.append(
                make_result(
                    f"two runs of {steps} steps, {what}: seconds over reading both logs, {how}",
                    round(medians[name], 6), round(medians["read"], 6), medians[name] / medians["read"],
                    bar, bytes=sum((path / "steps.log").stat().st_size for path in paths),
                )
            )  # fmt: skip
    return lines


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of the measurement of speed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        os.environ["ASSAY_HOME"] = f"{name}/home"
        results = judge_causes(Path(name))
        results += judge_speed(Path(name), options.rounds, 100_000)
    for line in results:
        print(f"{line['ratio']:9.3f}  {line['what']}  {line.get('said', '')}", file=sys.stderr, flush=True)
    return print_report("diff", results, torch=torch.__version__)


if __name__ == "__main__":
    sys.exit(main())
