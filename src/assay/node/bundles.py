"""Blobs of submissions: what the ledger state says about them decides what a node keeps, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from assay.errors import MalformedEvidence, UsageError
from assay.protocol.contracts.submission_records import FINAL, WITHDRAWN, Submission, SubmissionStatus
from assay.protocol.encoding import decode
from assay.protocol.evidence.bundle import Bundle
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.retained_blobs import Collected, HoldMissing, ObjectRefused, RetainedBlobs, Wanted

MAX_BUNDLE: Final = 8 * 1024 * 1024
"""Bytes of the longest bundle."""


class SubmissionUnknown(UsageError):
    """The ledger state has no submission with this id."""

    code: ClassVar[str] = "bundles.submission-unknown"
    http_status = 404


class BundleRefused(UsageError):
    """Bytes that are not the bundle of this submission, or a bundle that contradicts it."""

    code: ClassVar[str] = "bundles.refused"


@dataclass(frozen=True)
class BundleLimits:
    """Bounds of what a node keeps for others, in bytes.

    Attributes:
        per_submission: more than this is not kept for one submission, whatever it promised.
        total: of all submissions together, each object once.
        reserve: of the disk, left free for the chain.
    """

    per_submission: int = 16 * 1024**3
    total: int = 256 * 1024**3
    reserve: int = 256 * 1024**2


class Bundles:
    """Bundles and their objects in a store.

    Args:
        blobs: the store.
        find: returns a submission and its status from the ledger state, or None.
        limits: the bounds.
    """

    def __init__(
        self,
        blobs: RetainedBlobs,
        find: Callable[[bytes], tuple[Submission, SubmissionStatus] | None],
        limits: BundleLimits,
    ) -> None:
        self.blobs = blobs
        self._find = find
        self._limits = limits

    def put_bundle(self, submission: bytes, data: bytes) -> None:
        """Take the bundle of a submission and want everything that it names; taking it again changes nothing.

        Raises:
            SubmissionUnknown: the ledger state has none with this id, or it is over.
            BundleRefused: other bytes than the submission commits to, malformed, or larger than it says.
            QuotaExceeded: more than the node keeps.
        """
        found = self._find(submission)
        if found is None or not _is_open(found[1]):
            raise SubmissionUnknown("no submission with this id waits or is judged", actual=submission.hex())
        run = found[0].run
        actual = compute_bulk_digest(data)
        if actual != run.bundle:
            raise BundleRefused("not the bundle of this submission", expected=run.bundle.hex(), actual=actual.hex())
        wanted = _list_objects(data)
        nbytes = sum({each.digest: each.size for each in wanted}.values())
        if nbytes > run.bundle_bytes:
            raise BundleRefused(
                "the bundle names more bytes than the submission", expected=run.bundle_bytes, actual=nbytes
            )
        own = Wanted(run.bundle, len(data))
        quota = min(run.bundle_bytes + len(data), self._limits.per_submission)
        self.blobs.hold(submission, until=run.retention, max_bytes=quota)
        self.blobs.declare(submission, [own, *wanted])
        self.blobs.put(own.digest, data)

    def get_bundle(self, submission: bytes) -> bytes:
        """Return the bundle of a submission.

        Raises:
            SubmissionUnknown: the ledger state has none with this id.
            UsageError, StorageError: it was not uploaded, or is not kept any more.
        """
        found = self._find(submission)
        if found is None:
            raise SubmissionUnknown("there is no submission with this id", actual=submission.hex())
        return self.blobs.open(found[0].run.bundle)

    def list_missing(self, submission: bytes) -> list[Wanted]:
        """Return what a bundle names and nobody uploaded yet.

        Raises:
            HoldMissing: the bundle itself was not uploaded, or is not kept any more.
        """
        if self.blobs.get_until(submission) is None:
            raise HoldMissing(
                "the bundle was not uploaded", actual=submission.hex(), next_step="upload the bundle first"
            )
        return self.blobs.list_missing(submission)

    def collect(self, height: int) -> Collected:
        """Delete what no promise and no open submission needs any more."""
        return self.blobs.collect(height, self._is_alive)

    def _is_alive(self, submission: bytes) -> bool:
        found = self._find(submission)
        return found is not None and _is_open(found[1])


def _is_open(status: SubmissionStatus) -> bool:
    """Return whether the ledger may still ask for the blobs of a submission."""
    return status.phase not in (FINAL, WITHDRAWN)


def _list_objects(data: bytes) -> list[Wanted]:
    try:
        bundle = decode(data, Bundle, max_bytes=MAX_BUNDLE)
        return [Wanted(entry.digest, entry.nbytes) for entry in bundle.entries]
    except (MalformedEvidence, ObjectRefused) as error:
        raise BundleRefused("this is no bundle", actual=f"{error.code}: {error.message}") from None
