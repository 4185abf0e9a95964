"""The replay's arithmetic by torch: one state, kept in tensors, and an executor per program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from assay.errors import UsageError
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import AliasTable, TensorRecord
from assay.protocol.evidence.plan import Metric
from assay.training.packed import PackedData
from assay.training.pytorch import devices
from assay.training.pytorch.evaluation import compute_metrics
from assay.training.pytorch.executor import Executor
from assay.training.pytorch.home import get_bytes, set_bytes
from assay.training.pytorch.initialiser import run_initialiser
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.lower import DTYPES, get_type
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer, StateUnfit
from assay.training.state import NO_ALIASES, StateHasher, StateRoots, TensorLayout, hash_tensor
from assay.training.work_digest import Observer


def make_tensor(record: TensorRecord, data: bytes | bytearray | memoryview) -> torch.Tensor:
    """Return the tensor that a record and its bytes describe, in memory of its own, where programs are computed."""
    raw = torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: record.nbytes].clone()
    return raw.view(DTYPES[record.dtype]).reshape(record.shape).to(devices.get_device())


class TorchBackend:
    """Implements `replay.Backend`.

    Args:
        aliases: the alias table of the run.
        observer: sees values of each step while they are computed.
    """

    def __init__(self, aliases: AliasTable = NO_ALIASES, observer: Observer | None = None) -> None:
        self.aliases = aliases
        self.observer = observer
        self.tensors: dict[tuple[int, str], torch.Tensor] = {}
        self._executors: dict[int, Executor] = {}  # by identity of its program, which it keeps alive
        self._hasher: StateHasher | None = None
        self._memory: list[memoryview] | None = []

    def make_start(self, program: ir.Program, key: tuple[int, int]) -> tuple[list[TensorRecord], list[bytes]]:
        """Return records and bytes of the tensors that an initialiser makes, sorted."""
        made = run_initialiser(program, key)
        records, data = [], []
        for (namespace, name), tensor in sorted(made.items(), key=lambda item: (item[0][0], item[0][1].encode())):
            kind = get_type(tensor)
            raw = get_bytes(tensor.contiguous()).tobytes()
            records.append(hash_tensor(namespace, name, kind.dtype, kind.shape, raw))
            data.append(raw)
        return records, data

    def set_state(self, records: Sequence[TensorRecord], tensors: Sequence[bytes | bytearray | memoryview]) -> None:
        """Take over a state; a state of the same tensors is copied into them, so that executors stay bound."""
        made = {(r.namespace, r.name): make_tensor(r, data) for r, data in zip(records, tensors, strict=True)}
        same = list(made) == list(self.tensors) and all(
            get_type(made[key]) == get_type(self.tensors[key]) for key in made
        )
        if same:
            for key, tensor in made.items():
                self.tensors[key].copy_(tensor)
            return
        self._rebind(made)

    def _rebind(self, tensors: dict[tuple[int, str], torch.Tensor]) -> None:
        self.tensors = dict(sorted(tensors.items(), key=lambda item: (item[0][0], item[0][1].encode())))
        self._executors = {}
        kinds = {key: get_type(tensor) for key, tensor in self.tensors.items()}
        layout = [TensorLayout(*key, kind.dtype, kind.shape) for key, kind in kinds.items()]
        self._hasher = StateHasher(layout, self.aliases)
        is_plain = devices.get_device() == devices.CPU
        self._memory = [get_bytes(tensor).data for tensor in self.tensors.values()] if is_plain else None

    def run(
        self,
        program: ir.Program,
        batch: Sequence[npt.NDArray[np.generic]],
        row: Sequence[float],
        key: tuple[int, int],
    ) -> list[npt.NDArray[np.generic]]:
        """Carry out one step on the state and return what it returns.

        Raises:
            StateUnfit: the program is for another state or another batch.
        """
        fields = devices.place([torch.from_numpy(array) for array in batch])
        state = self._collect(program, fields)
        outputs = [(output.namespace, output.name) for output in program.state_outputs]
        if all(name in self.tensors for name in outputs):
            executor = self._executors.get(id(program))
            if executor is None:
                executor = Executor(program, state, fields, self.observer)
                self._executors[id(program)] = executor
            results: Sequence[torch.Tensor] = executor.run(fields, row, key)
        else:
            changed, results = interpret(program, state, fields, row, key, self.observer)
            born = {name: tensor.clone() for name, tensor in zip(outputs, changed, strict=True)}
            self._rebind({**self.tensors, **born})
        return [devices.fetch(result.contiguous()).numpy() for result in results]

    def _collect(self, program: ir.Program, fields: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        state = []
        for entry in program.state:
            tensor = self.tensors.get((entry.namespace, entry.name))
            if tensor is None or get_type(tensor) != entry.type:
                raise StateUnfit(f"the program needs {entry.name}, which the state does not have in this form")
            state.append(tensor)
        if tuple(get_type(field) for field in fields) != program.batch:
            raise StateUnfit("the program is for another batch", expected=program.batch)
        return state

    def compute_roots(self) -> StateRoots:
        """Hash the state."""
        if self._hasher is None:
            raise StateUnfit("no state was set")
        return self._hasher.compute(self.get_tensor_bytes())

    def get_tensor_bytes(self) -> list[memoryview]:
        """Return the bytes of all tensors, in their order: on the CPU their memory itself, else a copy."""
        if self._memory is not None:
            return self._memory
        return [get_bytes(tensor).data for tensor in self.tensors.values()]

    def set_tensor_bytes(self, place: int, data: bytes | bytearray | memoryview) -> None:
        """Put other bytes, as many, into the tensor at a place of the order of `get_names`."""
        set_bytes(list(self.tensors.values())[place], data)

    def measure(
        self, program: ir.Program, packed: PackedData, batch_size: int, metrics: Sequence[Metric]
    ) -> tuple[Metric, ...]:
        """Return the metrics of the present state on a test set, by an inference program.

        Args:
            program: gives one measure per metric.
            packed: the test set, verified by the caller.
            batch_size: of the program's batch.
            metrics: whose names say what is measured.
        """
        state = [self.tensors[entry.namespace, entry.name] for entry in program.state]
        return compute_metrics(program, state, packed, batch_size, [metric.name for metric in metrics])

    def get_names(self) -> list[tuple[int, str]]:
        """Return namespace and name of all tensors, in their order."""
        return list(self.tensors)


def compute_state(path: Path, step: int) -> dict[str, torch.Tensor]:
    """Return the state of a recorded run after a step, recomputed in this process.

    Raises:
        UsageError: no such step.
        Refuted: a step on the way is not what the run says.
    """
    run = RecordedRun(path)
    try:
        if not 0 <= step <= run.steps:
            raise UsageError("no such step", expected=f"0 to {run.steps}", actual=step)
        backend = TorchBackend(run.start.aliases)
        replayer = Replayer(run, backend)
        base = replayer.find_base(step)
        replayer.load(base)
        difference = replayer.replay(base, step)
        if difference is not None:
            raise StateUnfit(f"step {difference.step} is not what the run says", actual=", ".join(difference.parts))
        return {name: tensor.clone() for (_, name), tensor in backend.tensors.items()}
    finally:
        run.close()
