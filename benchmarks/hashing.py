"""How fast a state root is, beside BLAKE3 over the same bytes; one thread, nothing skipped, nothing remembered.

Each case lays its tensors one after the other in one buffer, as the executor's arena does. The baseline of large
tensors is one BLAKE3 call over the whole buffer, that of small ones is BLAKE3 called once per tensor. Ours and the
baseline run in turn in one process; the medians are compared. The root is checked against the slow oracle first.

The bars hold for the machine as it is. Further lines show what other machines would take: the native library restricted
to fewer instruction sets, or off. The blake3 package cannot be restricted and uses all that this machine has, so those
ratios are lower than on such a machine; nobody judges them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from blake3 import blake3

from assay.kernels import bulk_digests, loader, state_tree
from assay.protocol.evidence.model_state import PARAM, SLOT, compute_state_root
from assay.training.arrays import view_bytes
from assay.training.state import NO_ALIASES, StateHasher, TensorLayout, hash_tensor
from benchmarks.report import make_result, print_report

KIB, MIB = 1024, 1024 * 1024
Call = Callable[[], object]


def make_state(count: int, nbytes: int) -> tuple[StateHasher, list[memoryview], memoryview]:
    """Return a hasher, the bytes of each tensor and of all together; a third of the tensors are parameters."""
    arena = np.random.default_rng(0).integers(0, 256, count * nbytes, np.uint8)
    whole = view_bytes(arena)
    layout = []
    for number in range(count):
        namespace, suffix = (PARAM, "") if number < -(-count // 3) else (SLOT, "/exp_avg")
        layout.append(TensorLayout(namespace, f"0/layers.{number:05}.weight{suffix}", "f32", (nbytes // 4,)))
    return StateHasher(layout), [whole[i * nbytes : (i + 1) * nbytes] for i in range(count)], whole


def check_root(hasher: StateHasher, buffers: list[memoryview]) -> None:
    """Compare with the oracle.

    Raises:
        RuntimeError: the fast root is another.
    """
    records = [
        hash_tensor(entry.namespace, entry.name, entry.dtype, entry.shape, buffer)
        for entry, buffer in zip(hasher.layout, buffers, strict=True)
    ]
    if hasher.compute(buffers).state_root != compute_state_root(records, NO_ALIASES):
        raise RuntimeError("the fast state root is not the oracle's")


def measure(ours: Call, baseline: Call, rounds: int) -> tuple[float, float]:
    """Return the median seconds of both, run in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, times in zip((ours, baseline), taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return statistics.median(taken[0]), statistics.median(taken[1])


def run_case(what: str, count: int, nbytes: int, rounds: int, bar: float | None, *, whole: bool) -> dict[str, Any]:
    """Return one line of the result; rates in bytes per second."""
    hasher, buffers, everything = make_state(count, nbytes)
    check_root(hasher, buffers)

    def hash_each() -> object:
        return [blake3(buffer).digest() for buffer in buffers]

    def hash_whole() -> object:
        return blake3(everything).digest()

    ours, baseline = measure(lambda: hasher.compute(buffers), hash_whole if whole else hash_each, rounds)
    ratio = baseline / ours
    size = count * nbytes
    rates = round(size / ours), round(size / baseline)
    return make_result(what, *rates, ratio, bar, at_least=True, unit="bytes/s", seconds=ours)


@contextmanager
def without_library() -> Iterator[None]:
    """Do without the native library for a while."""
    binders = [(module, module._bind) for module in (bulk_digests, state_tree)]
    for module, _ in binders:
        module._bind = lambda: None
    try:
        yield
    finally:
        for module, binder in binders:
            module._bind = binder


def run_paths() -> list[dict[str, Any]]:
    """Return two lines per path that this machine can run beside its best, judged by nobody."""
    results = []
    best = loader.get_used_features()
    choices = [loader.get_names(bits) for bits in loader.find_variants() if bits != best]
    paths = [(f"with {'+'.join(names) or 'portable'} kernels alone", loader.only(names)) for names in choices]
    for what, path in [*paths, ("without the native library", without_library())]:
        with path:
            results += [
                run_case(f"{what}: 2,000 tensors of 64 KiB, of raw BLAKE3", 2000, 64 * KIB, 5, None, whole=True),
                run_case(f"{what}: 2,000 tensors of 4 KiB, of BLAKE3 per tensor", 2000, 4 * KIB, 31, None, whole=False),
            ]
    return results


def main() -> int:
    """Print one JSON object; the exit status says whether all bars are met."""
    results = [
        run_case("1 tensor of 256 MiB, of raw BLAKE3", 1, 256 * MIB, 9, 0.9, whole=True),
        run_case("2,000 tensors of 64 KiB, of raw BLAKE3", 2000, 64 * KIB, 15, 0.9, whole=True),
        run_case("2,000 tensors of 64 KiB, of BLAKE3 per tensor", 2000, 64 * KIB, 15, None, whole=False),
        run_case("2,000 tensors of 4 KiB, of BLAKE3 per tensor", 2000, 4 * KIB, 101, 0.6, whole=False),
        run_case("30 tensors of 1 KiB, of BLAKE3 per tensor", 30, KIB, 2001, None, whole=False),
    ]
    used = loader.get_names(loader.get_used_features())
    return print_report("hashing", results + run_paths(), kernels=used)


if __name__ == "__main__":
    sys.exit(main())
