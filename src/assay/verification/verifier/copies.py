"""The fetched runs of a verifier: one folder for each submission, written at once, removed when it is over."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from assay.protocol.contracts.submission_records import Submission
from assay.protocol.encoding import decode, encode
from assay.protocol.evidence.bundle import Checkpoint, CheckpointList
from assay.storage.files import Files, naming, read_file, write_atomic
from assay.verification.fetching import BlobSource, Fetcher, verify_copy


class Copies:
    """Fetched runs below a folder.

    Args:
        folder: made if it is missing.
        max_bytes: of the largest package that is fetched.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._writing = threading.Lock()
        with naming(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def has(self, submission: bytes) -> bool:
        """Return whether a submission's run was fetched."""
        return (self.folder / submission.hex()).exists()

    def fetch(
        self, source: BlobSource, submission: Submission, progress: Callable[[int, int], None] | None = None
    ) -> Path:
        """Return the folder of a submission's run, fetched and checked as a whole unless it is there.

        Raises:
            MalformedEvidence, Refuted: what was fetched is not what was committed to.
            NetworkError, StorageError: a blob is not to be had, the package is too large, or the disk.
        """
        place = self.folder / submission.submission.hex()
        with self._writing:
            self._ensure(source, submission, place, progress)
        return place / "run"

    def _ensure(
        self,
        source: BlobSource,
        submission: Submission,
        place: Path,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        if not place.exists():
            partial = place.with_name(f".tmp-{place.name}")
            shutil.rmtree(partial, ignore_errors=True)
            with naming(partial):
                partial.mkdir()
            try:
                self._write(source, submission, partial, progress)
                Files().replace(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _write(
        self,
        source: BlobSource,
        submission: Submission,
        place: Path,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        body = submission.run
        fetcher = Fetcher(source, body, submission.submission, max_bytes=self.max_bytes, progress=progress)
        fetcher.write(place / "run")
        verify_copy(place / "run", body)
        write_atomic(Files(), place / "checkpoints.bin", [encode(CheckpointList(0, fetcher.checkpoints))])

    def read_checkpoints(self, submission: bytes) -> tuple[Checkpoint, ...]:
        """Return the list of checkpoints of a fetched package."""
        data = read_file(Files(), self.folder / submission.hex() / "checkpoints.bin")
        return decode(data, CheckpointList).checkpoints

    def remove(self, submission: bytes) -> None:
        """Delete what was fetched of a submission."""
        shutil.rmtree(self.folder / submission.hex(), ignore_errors=True)
