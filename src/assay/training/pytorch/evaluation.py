"""Evaluation as data: an inference program, a committed test set, and metrics of a closed list.

A sample's last field is its target, the others are the model's inputs. Batches have one size: the last one is filled up
with samples from the beginning, whose outputs are not counted. Counts are integers; reals are exact sums (`math.fsum`)
over per-sample float32 in index order.

Source: `spec/plan.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from assay.errors import CaptureRefused, UsageError
from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.plan import Metric
from assay.training.packed import PackedData
from assay.training.pytorch import device_rules, devices, functional, layout
from assay.training.pytorch.capture import make_constant_record, refuse_unlisted, roll_batch
from assay.training.pytorch.compare_tapes import collect_constants, compare_calls
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.lower import get_type, lower_graph
from assay.training.pytorch.tape import Recorder, get_geometry


class MetricUnknown(UsageError):
    """A metric that is not in the closed list."""

    code: ClassVar[str] = "evaluation.metric"


def _correct(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 for each right prediction; classes stand in the last dimension."""
    return (outputs.argmax(-1) == target).flatten()


def _cross_entropy(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), target.flatten(), reduction="none")


def _squared_error(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (outputs.reshape(target.shape) - target).square().flatten()


MEASURES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "accuracy": _correct,
    "cross_entropy": _cross_entropy,
    "perplexity": _cross_entropy,
    "squared_error": _squared_error,
}
"""The closed list: what is measured of each sample (or each of its tokens)."""


def get_measures(metrics: Sequence[str]) -> list[str]:
    """Return the metrics, sorted and unique.

    Raises:
        MetricUnknown: a name that is not in the list.
    """
    for name in metrics:
        if name not in MEASURES:
            raise MetricUnknown(f"no metric {name!r}", expected=", ".join(MEASURES))
    if not metrics:
        raise MetricUnknown("no metric was named", expected=", ".join(MEASURES))
    return sorted(set(metrics))


def capture_inference(
    net: nn.Module, models: Sequence[nn.Module], batch: Sequence[torch.Tensor], metrics: Sequence[str]
) -> ir.Program:
    """Return the program from a batch to per-sample measures, one result per metric.

    Raises:
        CaptureRefused: the model draws random numbers, changes its state or reads values in evaluation.
    """
    entries, _ = layout.list_model_tensors(models)
    _refuse_strangers(net, entries)
    recordings = [_record(net, entries, fields, metrics) for fields in (batch, roll_batch(batch))]
    (tape, calls, inputs, outputs), (other_tape, other_calls, other_inputs, _) = recordings
    compare_calls(calls, other_calls, inputs, other_inputs)
    device_rules.verify_devices(tape, calls, devices.get_device())
    constants = collect_constants(tape, calls, other_tape, other_calls, {geometry[0] for geometry in inputs})
    graph = functional.build_graph(
        calls,
        [*inputs, *(geometry for geometry, _ in constants)],
        devices.place([*(entry.tensor for entry in entries), *batch, *(value for _, value in constants)]),
        [*(get_geometry(entry.tensor) for entry in entries), *outputs],
    )
    program = lower_graph(
        graph,
        kind=ir.INFERENCE,
        state=layout.get_inputs(entries),
        batch=[get_type(tensor) for tensor in batch],
        constants=[make_constant_record(value) for _, value in constants],
        scalars={},
        row_length=0,
        state_outputs=[entry.key for entry in entries],
    )
    refuse_unlisted(program, calls)
    if program.state_outputs:
        raise CaptureRefused(
            f"the model changes {program.state_outputs[0].name} while it is evaluated",
            next_step="call net.eval() has the usual effect; a custom buffer must not change in evaluation",
        )
    return program


def _refuse_strangers(net: nn.Module, entries: Sequence[layout.Entry]) -> None:
    known = {id(entry.tensor) for entry in entries}
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if id(tensor) not in known:
            raise CaptureRefused(
                f"{name} of the model to evaluate is not part of the run's state",
                expected="a model of @run.step(models=[...]), or a module made of its parts",
                next_step="pass the module in models=[...] of @run.step: only what is recorded can be recomputed",
            )


def _record(
    net: nn.Module, entries: Sequence[layout.Entry], batch: Sequence[torch.Tensor], metrics: Sequence[str]
) -> tuple[Any, list[Any], list[Any], list[Any]]:
    known = [*(entry.tensor for entry in entries), *batch]
    inputs = [get_geometry(tensor) for tensor in known]
    recorder = Recorder(None, known)
    with torch.no_grad(), recorder:
        outputs = net(*batch[:-1])
        if not isinstance(outputs, torch.Tensor):
            raise CaptureRefused(f"the model returns {type(outputs).__name__}", expected="one tensor")
        measures = [MEASURES[name](outputs, batch[-1]) for name in metrics]
    recorder.tape.alive.append(measures)
    calls = functional.select_calls(recorder.tape, set())
    return recorder.tape, calls, inputs, [get_geometry(measure) for measure in measures]


def iterate_batches(packed: PackedData, batch_size: int) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Yield (how many samples count, fields) for batches of one size, in index order."""
    for start in range(0, packed.size, batch_size):
        indices = np.arange(start, start + batch_size, dtype=np.int64)
        fields = [torch.from_numpy(array) for array in packed.gather(indices % packed.size)]
        yield min(batch_size, packed.size - start), fields


def compute_metrics(
    program: ir.Program,
    state: Sequence[torch.Tensor],
    packed: PackedData,
    batch_size: int,
    metrics: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Metric, ...]:
    """Return the metrics of a model on a test set.

    Args:
        program: of `capture_inference`, for exactly these metrics.
        state: one tensor per `program.state`.
        packed: the test set.
        batch_size: of the program's batch.
        metrics: sorted names.
        progress: is told how many samples are done.
    """
    values: list[list[np.ndarray]] = [[] for _ in metrics]
    done = 0
    for counted, fields in iterate_batches(packed, batch_size):
        _, results = interpret(program, state, devices.place(fields), [], (0, 0))
        for column, result in zip(values, results, strict=True):
            column.append(result.reshape(batch_size, -1)[:counted].flatten().cpu().numpy())
        done += counted
        if progress is not None:
            progress(done, packed.size)
    return tuple(_summarise(name, np.concatenate(column)) for name, column in zip(metrics, values, strict=True))


def _summarise(name: str, values: np.ndarray) -> Metric:
    if values.dtype == np.bool_:
        return Metric(name, float_to_bits(int(values.sum()) / len(values)), len(values))
    mean = math.fsum(values.tolist()) / len(values)
    if name == "perplexity":
        mean = float(f"{math.exp(min(mean, 700.0)):.9g}")
    return Metric(name, float_to_bits(mean), len(values))
