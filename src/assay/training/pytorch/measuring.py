"""One evaluation of a run: the test set is committed, the model becomes an inference program, the metrics are computed.

Source: `spec/plan.md`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from assay.errors import UsageError
from assay.protocol.encoding import bits_to_float
from assay.protocol.evidence.plan import Evaluation
from assay.training.data_store import store_data
from assay.training.datasets import MapDataset, commit_dataset
from assay.training.evaluations import EvaluationList
from assay.training.pytorch import devices
from assay.training.pytorch.evaluation import capture_inference, compute_metrics, get_measures
from assay.training.pytorch.home import StateHome
from assay.training.pytorch.known_answer import compute_known_answer
from assay.training.pytorch.loader import get_whole_arrays, to_array
from assay.training.recorder import RunRecorder


def measure(
    recorder: RunRecorder,
    home: StateHome,
    net: nn.Module,
    dataset: MapDataset,
    *,
    metrics: Sequence[str],
    batch_size: int,
) -> dict[str, float]:
    """Measure a model at the present step and add it to the run's evaluations.

    Args:
        recorder: of the run.
        home: its state, as the last step left it.
        net: a module whose tensors all belong to the state; it is put into evaluation mode and back.
        dataset: samples whose last field is the target.
        metrics: names of the closed list.
        batch_size: samples a batch.

    Returns:
        Metric to value.

    Raises:
        MetricUnknown: a name that is not in the list.
        CaptureRefused: the model cannot be evaluated as a program, or is not the one that is trained.
    """
    names = get_measures(metrics)
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise UsageError("batch_size is a number of at least 1", actual=repr(batch_size))
    data = commit_dataset(
        dataset, check_seed=secrets.token_bytes(32), to_array=to_array, arrays=get_whole_arrays(dataset)
    )
    if len(data.packed.names) < 2:
        raise UsageError("a test set has inputs and a target", actual=f"{len(data.packed.names)} field")
    batch_size = min(batch_size, data.packed.size)
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        fields = data.packed.gather(np.arange(batch_size, dtype=np.int64))
        batch = devices.place([torch.from_numpy(field) for field in fields])
        program = capture_inference(net, home.models, batch, names)
    finally:
        for module, mode in modes:
            module.training = mode
    state = home.tensors[: len(program.state)]
    measured = compute_metrics(program, state, data.packed, batch_size, names)
    store_data(recorder.run, f"test-{data.record.leaves.root.hex()[:16]}", data.packed, data.record)
    index = recorder.add_program(program, first_step=0, known_answer=compute_known_answer(program))
    identity = recorder.program_ids[index]
    EvaluationList.append(recorder.run, Evaluation(recorder.step, identity, data.record, batch_size, measured))
    return {metric.name: bits_to_float(metric.value) for metric in measured}
