"""What a submitter lays open so that strangers can recompute a run: named blobs in chunks, and the list of checkpoints.

Every blob is cut into chunks of one length, each named by its BLAKE3, so that it can be fetched in pieces and checked
piece by piece. The index names all blobs of one submission; its digest stands in the submission, so that "everything is
there" has one meaning for everybody.

Source: `spec/submission-package.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar, Final

from blake3 import blake3

from assay.errors import MalformedEvidence
from assay.protocol.encoding import Record
from assay.protocol.evidence.bundle import Checkpoint, Manifest, compute_checkpoints, compute_manifest_id
from assay.protocol.evidence.fields import verify_digest, verify_number, verify_sorted, verify_version
from assay.protocol.hashing import ZERO, compute_bulk_digest
from assay.protocol.merkle import MerkleRoot

CHUNK_BYTES: Final = 1 << 20
"""Length of every chunk but the last of a blob (PKG-1)."""

MAX_BLOB_BYTES: Final = 2**40
"""Longest blob (PKG-1)."""

MAX_ENTRIES: Final = 4096
"""Most blobs of one submission (PKG-3)."""

MAX_INDEX_BYTES: Final = 1 << 26
"""Longest index; a record is never longer (ENC-7)."""

SINGLE: Final = ("closing", "plan", "profile", "rows", "signature", "start")
"""Blobs that every package has under these names (PKG-4)."""

_NAMED = re.compile(
    r"program/[0-9a-f]{64}|(?:train|test-[0-9a-f]{16})/(?:manifest|0|[1-9][0-9]{0,3})|state/(?:0|[1-9][0-9]{0,18})"
)


class ManifestRefused(MalformedEvidence):
    """A manifest whose chunks are not those of a blob of its length."""

    code: ClassVar[str] = "package.manifest"


class EntryRefused(MalformedEvidence):
    """A package that lacks a blob, names one that no package has, or has too many."""

    code: ClassVar[str] = "package.entry"


class ChunkDiffers(MalformedEvidence):
    """Fetched bytes that are not the chunk that was asked for."""

    code: ClassVar[str] = "package.chunk-differs"


class PackageEntry(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One blob of a package."""

    name: str
    manifest: Manifest


class PackageIndex(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All blobs of a submission, and its list of checkpoints."""

    version: int
    entries: tuple[PackageEntry, ...]  # sorted by name
    checkpoints: tuple[
        Checkpoint, ...
    ]  # the committed list: entry i is the state before interval i, the last one the end


def cut(data: bytes | memoryview) -> Iterable[memoryview]:
    """Yield the chunks of a blob in their order."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def build_manifest(data: bytes | memoryview) -> Manifest:
    """Return the manifest of a blob (PKG-1)."""
    return Manifest(0, CHUNK_BYTES, memoryview(data).nbytes, tuple(compute_bulk_digest(chunk) for chunk in cut(data)))


def verify_manifest(manifest: Manifest, what: str) -> None:
    """Check that a manifest can be that of a blob of its length (PKG-1).

    Raises:
        MalformedEvidence: another chunk length, a length out of range, another number of digests than it gives.
    """
    verify_version(manifest.version, f"manifest of {what}")
    verify_number(manifest.chunk_size, f"chunk length of {what}", CHUNK_BYTES, CHUNK_BYTES)
    verify_number(manifest.length, f"length of {what}", 0, MAX_BLOB_BYTES)
    count = -(-manifest.length // CHUNK_BYTES)
    if len(manifest.chunks) != count:
        raise ManifestRefused(
            f"manifest of {what} has another number of chunks", expected=count, actual=len(manifest.chunks)
        )
    for digest in manifest.chunks:
        verify_digest(digest, f"digest of a chunk of {what}")


def get_chunk_length(manifest: Manifest, position: int) -> int:
    """Return how many bytes the chunk at a position has."""
    return min(CHUNK_BYTES, manifest.length - position * CHUNK_BYTES)


def verify_chunk(manifest: Manifest, position: int, data: bytes) -> None:
    """Check the fetched bytes of one chunk (PKG-1).

    Raises:
        ChunkDiffers: another length or digest.
    """
    expected = get_chunk_length(manifest, position)
    if len(data) != expected:
        raise ChunkDiffers("a chunk has another length", expected=f"{expected} bytes", actual=f"{len(data)} bytes")
    actual = blake3(data).digest()
    if actual != manifest.chunks[position]:
        raise ChunkDiffers("a chunk has other bytes", expected=manifest.chunks[position].hex(), actual=actual.hex())


def verify_index(index: PackageIndex) -> None:
    """Check the form of an index: its names and manifests (PKG-3, PKG-4).

    Raises:
        MalformedEvidence: a manifest that cannot be, names that are not sorted, a name that is missing or that no
            package has.
    """
    verify_version(index.version, "index of a package")
    if len(index.entries) > MAX_ENTRIES:
        raise EntryRefused("a package has too many blobs", expected=f"at most {MAX_ENTRIES}", actual=len(index.entries))
    names = [entry.name for entry in index.entries]
    for entry in index.entries:
        if entry.name not in SINGLE and not _NAMED.fullmatch(entry.name):
            raise EntryRefused("a package names a blob that no package has", actual=ascii(entry.name[:120]))
        verify_manifest(entry.manifest, entry.name)
    verify_sorted([name.encode() for name in names], "index of a package")
    missing = sorted({*SINGLE, "train/manifest"}.difference(names))
    if missing:
        raise EntryRefused("a package lacks a blob", expected=missing[0], actual="no such blob")
    verify_number(sum(entry.manifest.length for entry in index.entries), "length of a package", 0, MAX_BLOB_BYTES)


def verify_checkpoints(index: PackageIndex, committed: MerkleRoot) -> None:
    """Check the list of checkpoints against its committed root and the manifests of the blobs (PKG-2, PKG-5).

    Raises:
        MalformedEvidence: not ascending, not the committed list, or not the blobs that the index names.
    """
    checkpoints = index.checkpoints
    for checkpoint in checkpoints:
        verify_number(checkpoint.step, "step of a checkpoint")
        verify_digest(checkpoint.state_root, "state root of a checkpoint")
        verify_digest(checkpoint.manifest, "manifest of a checkpoint")
    if any(first.step >= second.step for first, second in pairwise(checkpoints)):
        raise EntryRefused("checkpoints are not in the order of their steps")
    actual = compute_checkpoints(checkpoints)
    if actual != committed:
        raise EntryRefused(
            "the list of checkpoints is not the committed one",
            expected=f"{committed.size} checkpoints, root {committed.root.hex()}",
            actual=f"{actual.size} checkpoints, root {actual.root.hex()}",
        )
    listed = {entry.name: entry.manifest for entry in index.entries if entry.name.startswith("state/")}
    derived = {f"state/{c.step}": (c.manifest, c.nbytes) for c in checkpoints if c.manifest != ZERO}
    if {name: (compute_manifest_id(chunks), chunks.length) for name, chunks in listed.items()} != derived:
        raise EntryRefused("the states of the package are not the committed checkpoints", expected=sorted(derived)[:20])
