"""From a submission back to a run on the disk: every byte is fetched, checked against the commitment, and written.

What comes out is an ordinary run folder, so that a verifier recomputes it with what an auditor uses. The folder is a
scratch copy: it is not made durable, and is fetched again if it is lost.

Source: `spec/submission-package.md`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Protocol

from assay.errors import AssayError, NetworkError, Refuted, StorageError
from assay.protocol.contracts.submission_bodies import SubmitRun
from assay.protocol.encoding import decode
from assay.protocol.evidence.bundle import Bundle, BundleEntry, CheckpointList
from assay.protocol.evidence.model_state import compute_state_root
from assay.protocol.evidence.package import (
    MAX_BUNDLE_BYTES,
    ChunkDiffers,
    EntryRefused,
    compute_bundle_bytes,
    open_bundle,
    verify_checkpoints,
    verify_chunk,
)
from assay.protocol.evidence.plan import InitialisedStart, compute_closing_id
from assay.protocol.evidence.transcript import StepParts
from assay.protocol.evidence.votes import compute_metrics_digest
from assay.protocol.hashing import ZERO, compute_bulk_digest
from assay.storage.files import Files, OpenFile
from assay.storage.run_directory import RunDirectory
from assay.storage.step_rows import MAX_ROW_BYTES
from assay.training.events import NAME as EVENTS
from assay.training.recorded import RecordedRun
from assay.training.signing import read_signature
from assay.verification.certify import export_model, read_final
from assay.verification.package import StateHeader
from assay.verification.structure import verify_structure

_OBJECTS = {"plan": "plan.bin", "profile": "profile.bin", "start": "start.bin", "closing": "closing.bin",
            "signature": "signature.bin"}  # fmt: skip


class BlobSource(Protocol):
    """Where chunks come from."""

    def fetch(self, digest: bytes, length: int) -> bytes:
        """Return the chunk with this BLAKE3, of at most `length` bytes; the caller checks what it gets.

        Raises:
            ChunkWithheld: whoever should have it answers, and has none.
            NetworkError, StorageError: nobody answers, or the disk.
        """
        ...


class ChunkWithheld(NetworkError):
    """Whoever should have a chunk answers, and has none or gives other bytes."""

    code: ClassVar[str] = "package.withheld"


class PackageTooLarge(StorageError):
    """A package is larger than this verifier takes."""

    code: ClassVar[str] = "package.too-large"


class FactsContradicted(Refuted):
    """The blobs of a submission are not the run that it commits to."""

    code: ClassVar[str] = "package.contradicted"


class ScratchFiles(Files):
    """A disk whose files need not survive a loss of power."""

    def fsync(self, file: OpenFile) -> None:
        """Do nothing."""

    def fsync_dir(self, path: Path) -> None:
        """Do nothing."""


class Fetcher:
    """Fetches one package.

    Args:
        source: gives chunks.
        submitted: what the submission commits to.
        context: under which its leaves are linked.
        max_bytes: refuse a larger package before fetching it.
        progress: is told how many bytes are done, of how many.

    Raises:
        MalformedEvidence: the bundle is not one.
        ChunkWithheld: it is missing, or other bytes came.
        PackageTooLarge: more bytes than allowed.
    """

    def __init__(
        self,
        source: BlobSource,
        submitted: SubmitRun,
        context: bytes,
        *,
        max_bytes: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.source = source
        self.submitted = submitted
        self.context = context
        self._progress = progress or (lambda _done, _total: None)
        self._done = 0
        if submitted.bundle_bytes > max_bytes:
            raise PackageTooLarge(
                "the package is larger than this verifier takes",
                expected=f"at most {max_bytes} bytes",
                actual=submitted.bundle_bytes,
            )
        data = source.fetch(submitted.bundle, MAX_BUNDLE_BYTES)
        if len(data) > MAX_BUNDLE_BYTES or compute_bulk_digest(data) != submitted.bundle:
            raise ChunkWithheld("the bundle is another", expected=submitted.bundle.hex())
        bundle = decode(data, Bundle, max_bytes=MAX_BUNDLE_BYTES)
        self._blobs = open_bundle(bundle)
        self.length = compute_bundle_bytes(bundle)
        if self.length != submitted.bundle_bytes:
            raise EntryRefused("a package of another length", expected=submitted.bundle_bytes, actual=self.length)
        listed = b"".join(self._stream("checkpoints"))
        self.checkpoints = decode(listed, CheckpointList).checkpoints
        verify_checkpoints(self.checkpoints, submitted.checkpoints, self._blobs)

    def write(self, target: Path, is_wanted: Callable[[int], bool] = lambda _: True) -> None:
        """Write the run into a new folder, and check that it is the one that was committed to.

        Args:
            target: a folder that does not exist; removed again if anything fails.
            is_wanted: which states are fetched, by step.

        Raises:
            MalformedEvidence, Refuted: the blobs are not a run, or another one.
            NetworkError, StorageError: a blob is not to be had, or the disk.
        """
        try:
            with RunDirectory.create(target, files=ScratchFiles(), background=False) as run:
                self._write_records(run)
                self._write_rows(run)
                for checkpoint in self.checkpoints:
                    if checkpoint.manifest != ZERO and is_wanted(checkpoint.step):
                        self._write_state(run, checkpoint.step, checkpoint.state_root)
            self._verify_facts(target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise

    def _stream(self, name: str) -> Iterator[bytes]:
        """Yield the verified chunks of a blob."""
        for entry in self._blobs[name]:
            data = self.source.fetch(entry.digest, entry.nbytes)
            _verify_fetched(entry, data)
            self._done += len(data)
            self._progress(self._done, self.length)
            yield data

    def _write_records(self, run: RunDirectory) -> None:
        for name in self._blobs:
            folder, _, rest = name.rpartition("/")
            if name in _OBJECTS:
                run.write_object(_OBJECTS[name], b"".join(self._stream(name)))
            elif name == "events":
                run.write_object(EVENTS, b"".join(self._stream(name)))
            elif folder == "edit":
                run.blobs.put(b"".join(self._stream(name)))
            elif folder == "program":
                run.write_object(f"programs/{rest}.bin", b"".join(self._stream(name)))
            elif rest == "manifest":
                run.write_object(f"{folder}.bin", b"".join(self._stream(name)))
            elif folder not in {"", "state"}:  # an array of a data set
                run.fields.put(f"{folder}.{rest}", self._stream(name))

    def _write_rows(self, run: RunDirectory) -> None:
        waiting = bytearray()
        for data in self._stream("rows"):
            waiting += data
            start = 0
            while len(waiting) - start >= 4:
                length = int.from_bytes(waiting[start : start + 4], "little")
                if length > MAX_ROW_BYTES:
                    raise EntryRefused("a row is too long", expected=f"at most {MAX_ROW_BYTES} bytes", actual=length)
                if len(waiting) - start - 4 < length:
                    break
                run.steps.append(decode(bytes(waiting[start + 4 : start + 4 + length]), StepParts))
                start += 4 + length
            del waiting[:start]
        if waiting:
            raise EntryRefused("the rows end in the middle of a row", actual=f"{len(waiting)} bytes too many")

    def _write_state(self, run: RunDirectory, step: int, root: bytes) -> None:
        data = memoryview(b"".join(self._stream(f"state/{step}")))
        size = int.from_bytes(data[:8], "little")
        header = decode(bytes(data[8 : 8 + size]), StateHeader)
        position, tensors = 8 + size, []
        for record in header.records:
            tensors.append(data[position : position + record.nbytes])
            position += record.nbytes
        if header.step != step or position != len(data) or any(record.nbytes < 0 for record in header.records):
            raise EntryRefused(f"the state of step {step} is not one blob of its tensors")
        if compute_state_root(header.records, header.aliases) != root:
            raise EntryRefused(f"the state of step {step} is not the committed one", expected=root.hex())
        run.checkpoints.write(step, state_root=root, records=header.records, aliases=header.aliases, tensors=tensors)

    def _verify_facts(self, target: Path) -> None:
        """Compare what was written with the commitment (PKG-9)."""
        run = RecordedRun(target)
        try:
            closing, submitted = run.closing, self.submitted
            metrics = compute_metrics_digest(closing.evaluations) if closing.evaluations else ZERO
            for what, expected, actual in (
                ("plan", submitted.plan, run.plan_id),
                ("closing record", submitted.closing, compute_closing_id(closing)),
                ("profile", submitted.profile, run.plan.profile),
                ("context", self.context, run.start.context),
                ("transcript", submitted.transcript, closing.transcript),
                ("number of steps", submitted.steps, closing.steps),
                ("length of an interval", submitted.interval_length, run.plan.interval_length),
                ("model root", submitted.model_root, closing.model_root),
                ("start", submitted.start_check, isinstance(run.plan.start, InitialisedStart)),
                ("list of metrics", submitted.metrics, metrics),
            ):
                if expected != actual:
                    raise FactsContradicted(f"the {what} of the package is not the committed one", actual=actual)
            self._verify_states(run)
            read_signature(run.directory, closing)
        finally:
            run.close()

    def _verify_states(self, run: RecordedRun) -> None:
        """Compare the list of checkpoints with the transcript, and what is stored with what must be (PKG-6, PKG-9)."""
        length, checkpoints = run.plan.interval_length, self.checkpoints
        derived = [(step, run.get_claimed_root(step)) for step in [*range(0, run.steps, length), run.steps]]
        if [(checkpoint.step, checkpoint.state_root) for checkpoint in checkpoints] != derived:
            raise FactsContradicted("the list of checkpoints is not that of the transcript")
        is_made = isinstance(run.plan.start, InitialisedStart)
        if (checkpoints[0].manifest == ZERO) != is_made or checkpoints[-1].manifest == ZERO:
            raise FactsContradicted("a package has the last state, and the start if no program makes it")


def _verify_fetched(entry: BundleEntry, data: bytes) -> None:
    """Check a chunk; other bytes than those asked for are no fault of the package, but of whoever gave them."""
    try:
        verify_chunk(entry, data)
    except ChunkDiffers as error:
        if compute_bulk_digest(data) == entry.digest:  # the bundle states a wrong length
            raise
        raise ChunkWithheld(error.message, expected=error.expected, actual=error.actual) from None


def verify_copy(path: Path, submitted: SubmitRun) -> None:
    """Check everything of a wholly fetched run that can be checked without recomputing a step (PKG-9).

    Raises:
        FactsContradicted: it does not hold together, and why.
        StorageError: the disk.
    """
    try:
        verify_structure(path)
        run = RecordedRun(path)
        exported, _ = export_model(read_final(run), lambda _: None)
        run.close()
    except StorageError:
        raise
    except AssayError as error:
        raise FactsContradicted("the run of the package does not hold together", actual=str(error)) from None
    if exported != submitted.model_file.hex():
        raise FactsContradicted("the model file is not the committed one", expected=submitted.model_file.hex())
