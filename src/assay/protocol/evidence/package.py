"""What a submitter lays open so that strangers can recompute a run: blobs in chunks, and the list of checkpoints.

Every blob is cut into chunks of one length, each named by its BLAKE3, so that it can be fetched in pieces and checked
piece by piece. The bundle names all chunks of one submission; its digest stands in the submission, so that "everything
is there" has one meaning for everybody.

Source: `spec/submission-package.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.encoding import encode
from assay.protocol.evidence.bundle import (
    Bundle,
    BundleEntry,
    Checkpoint,
    Manifest,
    compute_checkpoints,
    compute_manifest_id,
)
from assay.protocol.evidence.fields import verify_digest, verify_number, verify_sorted, verify_version
from assay.protocol.hashing import ZERO, compute_bulk_digest
from assay.protocol.merkle import MerkleRoot

CHUNK_BYTES: Final = 1 << 20
"""Length of every chunk but the last of a blob (PKG-1)."""

MAX_BUNDLE_BYTES: Final = 8 * 1024 * 1024
"""Longest bundle (PKG-3)."""

MAX_BLOBS: Final = 4096
"""Most blobs of one submission (PKG-3)."""

SINGLE: Final = ("checkpoints", "closing", "plan", "profile", "rows", "signature", "start")
"""Blobs that every package has under these names (PKG-4)."""

_NAMED = re.compile(
    r"events|edit/[0-9a-f]{64}|program/[0-9a-f]{64}|(?:train|test-[0-9a-f]{16})/(?:manifest|0|[1-9][0-9]{0,3})|state/(?:0|[1-9][0-9]{0,18})"
)
_ENTRY = re.compile(r"([a-z0-9/-]{1,120})#([0-9]{6})")


class EntryRefused(MalformedEvidence):
    """A package that lacks a blob or a chunk, names one that no package has, or has too many."""

    code: ClassVar[str] = "package.entry"


class ChunkDiffers(MalformedEvidence):
    """Fetched bytes that are not the chunk that was asked for."""

    code: ClassVar[str] = "package.chunk-differs"


def cut(data: bytes | memoryview) -> Iterable[memoryview]:
    """Yield the chunks of a blob in their order; an empty blob is one empty chunk."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    for start in range(0, max(len(view), 1), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def list_chunks(name: str, data: bytes | memoryview) -> list[BundleEntry]:
    """Return the entries of a blob (PKG-1, PKG-3)."""
    return [
        BundleEntry(f"{name}#{position:06}", compute_bulk_digest(chunk), chunk.nbytes)
        for position, chunk in enumerate(cut(data))
    ]


def build_manifest(entries: Sequence[BundleEntry]) -> Manifest:
    """Return the manifest of a blob whose chunks are these (PKG-2)."""
    length = sum(entry.nbytes for entry in entries)
    return Manifest(0, CHUNK_BYTES, length, tuple(entry.digest for entry in entries))


def build_bundle(entries: Iterable[BundleEntry]) -> Bundle:
    """Return the bundle of these chunks (PKG-3)."""
    return Bundle(0, tuple(sorted(entries, key=lambda entry: entry.name.encode())))


def compute_bundle_digest(bundle: Bundle) -> bytes:
    """Return the digest by which a submission names its bundle (PKG-3)."""
    return compute_bulk_digest(encode(bundle))


def compute_bundle_bytes(bundle: Bundle) -> int:
    """Return the bytes of all chunks together (PKG-3)."""
    return sum(entry.nbytes for entry in bundle.entries)


def open_bundle(bundle: Bundle) -> dict[str, list[BundleEntry]]:
    """Return the chunks of each blob, in their order, after checking the form of the bundle (PKG-1, PKG-3, PKG-4).

    Raises:
        MalformedEvidence: names that are not sorted, a chunk that is missing or has an impossible length, a blob that
            is missing or that no package has.
    """
    verify_version(bundle.version, "bundle")
    verify_sorted([entry.name.encode("utf-8", "surrogatepass") for entry in bundle.entries], "bundle")
    blobs: dict[str, list[BundleEntry]] = {}
    for entry in bundle.entries:
        match = _ENTRY.fullmatch(entry.name)
        if match is None or (match[1] not in SINGLE and not _NAMED.fullmatch(match[1])):
            raise EntryRefused("a package names a blob that no package has", actual=ascii(entry.name[:120]))
        verify_digest(entry.digest, "digest of a chunk")
        chunks = blobs.setdefault(match[1], [])
        if int(match[2]) != len(chunks) or (chunks and chunks[-1].nbytes != CHUNK_BYTES):
            raise EntryRefused("a blob lacks a chunk, or one is too short", actual=ascii(entry.name))
        verify_number(entry.nbytes, "length of a chunk", 1 if chunks else 0, CHUNK_BYTES)
        chunks.append(entry)
    if len(blobs) > MAX_BLOBS:
        raise EntryRefused("a package has too many blobs", expected=f"at most {MAX_BLOBS}", actual=len(blobs))
    missing = sorted({*SINGLE, "train/manifest"}.difference(blobs))
    if missing:
        raise EntryRefused("a package lacks a blob", expected=missing[0], actual="no such blob")
    return blobs


def verify_chunk(entry: BundleEntry, data: bytes) -> None:
    """Check the fetched bytes of one chunk (PKG-1).

    Raises:
        ChunkDiffers: another length or digest.
    """
    if len(data) != entry.nbytes:
        raise ChunkDiffers(f"{entry.name} has another length", expected=entry.nbytes, actual=len(data))
    actual = compute_bulk_digest(data)
    if actual != entry.digest:
        raise ChunkDiffers(f"{entry.name} has other bytes", expected=entry.digest.hex(), actual=actual.hex())


def verify_checkpoints(
    checkpoints: Sequence[Checkpoint], committed: MerkleRoot, blobs: Mapping[str, Sequence[BundleEntry]]
) -> None:
    """Check the list of checkpoints against its committed root and the manifests of the blobs (PKG-2, PKG-5).

    Raises:
        MalformedEvidence: not ascending, not the committed list, or not the blobs of the package.
    """
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
    listed = {name: build_manifest(entries) for name, entries in blobs.items() if name.startswith("state/")}
    derived = {f"state/{c.step}": (c.manifest, c.nbytes) for c in checkpoints if c.manifest != ZERO}
    if {name: (compute_manifest_id(manifest), manifest.length) for name, manifest in listed.items()} != derived:
        raise EntryRefused("the states of the package are not the committed checkpoints", expected=sorted(derived)[:20])
