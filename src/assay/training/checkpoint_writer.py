"""Writes checkpoints beside the training, from a copy of the state.

A checkpoint costs a few fsyncs, in which the next steps are taken. One is written at a time. Its order with the rows is
kept by the store: it makes them durable before it names a checkpoint. A failure of the disk is raised by the next call.

Source: FORMATS, "The run".
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from assay.protocol.evidence.model_state import AliasTable, TensorRecord
from assay.storage.run_directory import RunDirectory
from assay.training.recorder import choose_checkpoints


class CheckpointWriter:
    """The checkpoints of one run; all calls from one thread.

    Args:
        run: open for writing; while a checkpoint is being written nobody else changes its checkpoints.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def write(
        self,
        step: int,
        *,
        state_root: bytes,
        records: Sequence[TensorRecord],
        aliases: AliasTable,
        tensors: Sequence[memoryview] | Sequence[bytes],
        extra: bytes,
        interval: int,
        intended: int,
    ) -> None:
        """Copy a state and begin to write it; then those go that are not to be kept. See `CheckpointStore.write`.

        Args:
            step: the step after which the state is; its row was appended.
            state_root: of the state, 32 bytes.
            records: of its tensors.
            aliases: second names of tensors.
            tensors: their bytes, copied before this returns.
            extra: stored beside.
            interval: for `choose_checkpoints`.
            intended: for `choose_checkpoints`.

        Raises:
            StorageError: the disk has no room for it, or failed earlier.
        """
        self.wait()
        if step in self.run.checkpoints.list_steps():
            return
        self.run.check_free_space(sum(len(tensor) for tensor in tensors))
        copies = [bytes(tensor) for tensor in tensors]

        def work() -> None:
            store = self.run.checkpoints
            try:
                store.write(step, state_root=state_root, records=records, aliases=aliases, tensors=copies, extra=extra)
                store.thin(choose_checkpoints(store.list_steps(), interval=interval, intended=intended))
            except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that trains
                self._failure = error

        self._thread = threading.Thread(target=work, name="assay-checkpoint")
        self._thread.start()

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Wait until the checkpoint that was begun is on the disk.

        Raises:
            StorageError: the disk failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()
