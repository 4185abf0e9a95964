"""One stored tensor, read front to back in parts, for states that do not fit into memory."""

from __future__ import annotations

from blake3 import blake3

from assay.protocol.evidence.model_state import TensorRecord
from assay.storage.blobs import DigestMismatch
from assay.storage.files import Files, OpenFile


class TensorStream:
    """The bytes of a tensor; nothing that was read is proven before the last part was.

    Args:
        files: the disk.
        file: open for reading; closed with this.
        offset: where the tensor begins.
        record: its record; `record.nbytes` were found to be there.
    """

    def __init__(self, files: Files, file: OpenFile, offset: int, record: TensorRecord) -> None:
        self._files = files
        self._file = file
        self._start = offset
        self._record = record
        self._digest = blake3()
        self.position = 0

    def read_into(self, buffer: memoryview) -> None:
        """Fill `buffer` with the next bytes of the tensor.

        Raises:
            DigestMismatch: this was the last part, and the tensor is not as it was written.
            StorageError: the disk failed.
        """
        self._files.read_into(self._file, self._start + self.position, buffer)
        self._digest.update(buffer)
        self.position += len(buffer)
        actual = self._digest.digest() if self.position == self._record.nbytes else self._record.digest
        if actual != self._record.digest:
            raise DigestMismatch(self._file.path, f"the tensor {self._record.name}", self._record.digest, actual)

    def close(self) -> None:
        """Let go of the file."""
        self._files.close(self._file)
