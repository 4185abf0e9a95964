"""How fast two states are compared, beside naive NumPy and beside reading the files; page cache warm.

Two safetensors files of one model are made for each size, then read by three in turn: Assay's one pass for all four
measures, with a thread per core; the same file reads in one thread without any arithmetic, which is the read bandwidth;
and naive NumPy: each tensor loaded with the safetensors library, widened to float64, and the four formulas of the paper
written down. The bar is against float64, which finds our figures. In float32 the same lines are quicker and find
another cosine distance, since Eq. 4 subtracts two numbers that are almost equal: printed is how far off it is.

Tensors have 2 million elements in the smaller states and 16 million, a matrix of 4,096 rows and columns, from 100
million parameters on.

`--largest N` stops at N parameters. The largest size is float16, so that its two files take 4 GB and not 8.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open

from assay.certificate.model_file import TensorSpec, encode_header
from assay.kernels import loader, weight_sums
from assay.training.arrays import NUMPY_TYPES, Array, view_bytes
from assay.verification.weight_analysis.measures import Measures, compute_measures
from assay.verification.weight_analysis.pairs import CHUNK, compare_pair, compute_total
from assay.verification.weight_analysis.safetensors_file import SafetensorsSource
from benchmarks.report import make_result, print_report

MILLION = 10**6
MEMORY_BAR = 300.0
"""MB over the memory of the process before it compares."""


class Size(NamedTuple):
    """What is measured: parameters, element type, and rounds."""

    parameters: int
    dtype: str
    rounds: int

    @property
    def tensor(self) -> int:
        """Most elements of a tensor."""
        return 4096**2 if self.parameters >= 100 * MILLION else 2 * MILLION


SIZES = (
    Size(MILLION, "f32", 21),
    Size(10 * MILLION, "f32", 15),
    Size(10 * MILLION, "f16", 15),
    Size(10 * MILLION, "bf16", 15),
    Size(100 * MILLION, "f32", 5),
    Size(300 * MILLION, "f32", 3),
    Size(1000 * MILLION, "f16", 3),
)
REST = 0.1
"""Seconds before each call; OpenBLAS lets its threads spin for 2^26 cycles."""

BARRED = 10 * MILLION
"""From this size on the bars count; smaller ones are printed."""


def write_pair(folder: Path, size: Size) -> tuple[Path, Path]:
    """Write two states whose weights differ by about a thousandth."""
    names = [f"layers.{number:03}.weight" for number in range(-(-size.parameters // size.tensor))]
    shapes = [(min(size.tensor, size.parameters - size.tensor * number),) for number in range(len(names))]
    header = encode_header([TensorSpec(n, size.dtype, s) for n, s in zip(names, shapes, strict=True)])
    random = np.random.default_rng(0)
    weights = random.standard_normal(shapes[0], np.float32)
    change = random.standard_normal(shapes[0], np.float32) * np.float32(1e-3)
    paths = folder / "earlier.safetensors", folder / "later.safetensors"
    for path, state in zip(paths, (weights, weights + change), strict=True):
        stored = narrow(state, size.dtype)
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for shape in shapes:
                file.write(view_bytes(stored[: shape[0]]))
    return paths


def narrow(state: Array, dtype: str) -> Array:
    """Return float32 as another element type; bfloat16 is cut."""
    if dtype == "bf16":
        return (state.view(np.uint32) >> 16).astype(np.uint16)
    return state.astype(NUMPY_TYPES[dtype])


def compare(paths: tuple[Path, Path]) -> Measures:
    """Ours."""
    with SafetensorsSource(paths[0]) as earlier, SafetensorsSource(paths[1]) as later:
        return compute_measures(compute_total(compare_pair(earlier, later)))


def read_only(paths: tuple[Path, Path]) -> int:
    """The same reads into one buffer, and nothing else."""
    buffers, total = (bytearray(CHUNK), bytearray(CHUNK)), 0
    files = [os.open(path, os.O_RDONLY) for path in paths]
    for offset in range(0, os.fstat(files[0]).st_size, CHUNK):
        for file, buffer in zip(files, buffers, strict=True):
            total += os.preadv(file, [buffer], offset)
    for file in files:
        os.close(file)
    return total


def compare_naively(paths: tuple[Path, Path], kind: type[np.floating[Any]]) -> tuple[float, ...]:
    """The four formulas of the paper in NumPy, tensor by tensor."""
    change = squares = magnitude = product = before = after = 0.0
    with safe_open(paths[0], "np") as earlier, safe_open(paths[1], "np") as later:  # type: ignore[no-untyped-call]
        for name in earlier.keys():  # noqa: SIM118 - it is no dictionary
            a, b = (_load(file, name, kind) for file in (earlier, later))
            change += float(np.abs(b - a).sum())
            squares += float(np.linalg.norm(b - a)) ** 2
            magnitude += float(np.abs(a).sum())
            product += float(np.dot(a, b))
            before += float(np.linalg.norm(a)) ** 2
            after += float(np.linalg.norm(b)) ** 2
    return change, math.sqrt(squares), 100 * change / magnitude, 1 - product / math.sqrt(before * after)


def _load(file: Any, name: str, kind: type[np.floating[Any]]) -> Array:
    loaded: Array = file.get_tensor(name)
    return loaded.astype(kind, copy=False)


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each call; each round runs them in another order.

    What ran before decides what lies in the processor's caches: files that were just read, or what NumPy made of them.
    Before each call nothing runs for a while: the threads of NumPy's library spin that long after their work.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    chance = random.Random(1)  # noqa: S311 - an order, no secret
    for _ in range(rounds):
        for name, call in chance.sample(list(calls.items()), len(calls)):
            time.sleep(REST)
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return taken


def measure_memory(paths: tuple[Path, Path]) -> float:
    """Return the MB by which a fresh process grows while it compares."""
    command = [sys.executable, __file__, "--grow", *map(str, paths)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def grow(paths: tuple[Path, Path]) -> float:
    """Return the MB between the memory before comparing and the most while comparing."""

    def read(field: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    weight_sums.is_native()
    before = read("VmRSS")
    compare(paths)
    return (read("VmHWM") - before) / 1000


def check(ours: Measures, naive: Sequence[float], single: Sequence[float]) -> float:
    """Compare the results; return by what share float32 NumPy's cosine distance is off.

    Raises:
        RuntimeError: ours are not those of float64 NumPy, as far as its own rounding goes.
    """
    found = (ours.absolute, ours.l2, ours.percent, ours.cosine)
    for mine, other in zip(found, naive, strict=True):
        if mine is None or not math.isclose(mine, other, rel_tol=1e-6, abs_tol=1e-9):
            raise RuntimeError(f"other measures than NumPy's: {found}, {naive}")
    return abs(single[3] / naive[3] - 1)


def run_size(size: Size) -> tuple[list[dict[str, Any]], float]:
    """Return the lines of one size, and our seconds."""
    with tempfile.TemporaryDirectory(prefix="assay-weights-") as folder:
        paths = write_pair(Path(folder), size)
        nbytes = read_only(paths)  # warms the page cache
        calls: dict[str, Callable[[], Any]] = {"ours": lambda: compare(paths), "read": lambda: read_only(paths)}
        error = 0.0
        if size.dtype != "bf16":  # NumPy has none
            calls["naive"] = lambda: compare_naively(paths, np.float64)
            calls["single"] = lambda: compare_naively(paths, np.float32)
            error = check(compare(paths), calls["naive"](), calls["single"]())
        taken = measure(calls, size.rounds)
        memory = measure_memory(paths)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    what, barred = f"{size.parameters // MILLION} million {size.dtype}", size.parameters >= BARRED
    rate = {name: nbytes / seconds / 1e9 for name, seconds in medians.items()}
    lines = [
        make_result(
            f"{what}: four measures over reading alone; GB/s", rate["ours"], rate["read"], rate["ours"] / rate["read"],
            0.5 if barred else None, at_least=True, seconds=medians["ours"],
        ),
        make_result(f"{what}: memory over the start; MB", memory, None, memory, MEMORY_BAR),
    ]  # fmt: skip
    for name, said, bar in (
        ("naive", "naive NumPy, float64", 10.0),
        ("single", f"naive NumPy, float32, whose cosine distance is off by {error:.0%}", None),
    ):
        if name in medians:
            ratio = medians[name] / medians["ours"]
            lines.append(
                make_result(
                    f"{what}: times as fast as {said}; seconds", medians["ours"], medians[name], ratio,
                    bar if barred else None, at_least=True,
                )
            )  # fmt: skip
    return lines, medians["ours"]


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=float, default=1e9, metavar="N", help="most parameters (default: 1e9)")
    parser.add_argument("--grow", nargs=2, type=Path, metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grow:
        print(json.dumps(grow((options.grow[0], options.grow[1]))))
        return 0
    results, points = [], []
    for size in SIZES:
        if size.parameters <= options.largest:
            lines, seconds = run_size(size)
            results += lines
            points.append((size, seconds))
            for line in lines:
                print(f"{line['what']}: {line['ours']:.4g}, ratio {line['ratio']}", file=sys.stderr, flush=True)
    for dtype in ("f32", "f16"):
        large = np.log(
            [(size.parameters, t) for size, t in points if size.dtype == dtype and size.parameters >= BARRED]
        )
        if len(large) > 1:
            slope = float(np.polyfit(large[:, 0], large[:, 1], 1)[0])
            results.append(
                make_result(f"exponent of the time in {dtype} parameters; 1 is linear", slope, None, slope, 1.1)
            )
    used = loader.get_names(loader.get_used_features()) or (["portable"] if weight_sums.is_native() else ["numpy"])
    return print_report("weights", results, kernels="+".join(used))


if __name__ == "__main__":
    sys.exit(main())
