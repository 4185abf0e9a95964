"""The parameters of a run's stored state, each verified against its digest while it is read."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from assay.protocol.evidence.model_state import PARAM
from assay.storage.checkpoints import CheckpointStore
from assay.storage.tensor_stream import TensorStream
from assay.verification.weight_analysis.sources import WeightTensor


class CheckpointSource:
    """The state of one step; buffers and slots of the optimizer are no weights.

    Args:
        store: of the run.
        step: one of its checkpoints.

    Raises:
        CheckpointMissing: there is none of this step.
        CheckpointDamaged: its manifest is not as it was written.
    """

    def __init__(self, store: CheckpointStore, step: int) -> None:
        self.label = f"step {step}"
        self._store = store
        self._manifest = store.read_manifest(step)
        self._indices = {
            record.name: index for index, record in enumerate(self._manifest.records) if record.namespace == PARAM
        }
        records = self._manifest.records
        self.tensors = {
            name: WeightTensor(records[index].dtype, records[index].shape) for name, index in self._indices.items()
        }
        self._streams: dict[str, TensorStream] = {}

    def close(self) -> None:
        """Let go of the files that are being read."""
        while self._streams:
            self._streams.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the next bytes of a tensor; `offset` 0 begins one."""
        index = self._indices[name]
        if offset == 0:
            self._streams[name] = self._store.stream_tensor(self._manifest, index)
        stream = self._streams[name]
        stream.read_into(buffer)
        if stream.position == self._manifest.records[index].nbytes:
            self._streams.pop(name).close()
