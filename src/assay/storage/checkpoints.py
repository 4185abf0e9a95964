"""Checkpoints: stored model states, each written at once, each different tensor stored once.

`checkpoints/<step>.bin` is a manifest: canonical bytes of `Manifest`, then their BLAKE3. `packs/<id>` holds, one after
the other, the tensors that were new in one checkpoint; its id is BLAKE3 over (digest ‖ u64 bytes, little-endian) of
each. A manifest is written when its packs are durable, and a pack is deleted when no manifest names it.

Four fsyncs make a checkpoint, whatever the number of its tensors: pack, its folder, manifest, its folder; two if no
tensor is new.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.errors import MalformedEvidence, StorageError, UsageError
from assay.protocol.encoding import MAX_BYTES, Record, decode, encode
from assay.protocol.evidence.model_state import AliasTable, TensorRecord, compute_state_root
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.blobs import DigestMismatch
from assay.storage.files import (
    Buffer,
    Files,
    FileTooLarge,
    OpenFile,
    as_bytes_view,
    read_file,
    refuse_unless,
    write_atomic,
)
from assay.storage.tensor_stream import TensorStream

VERSION: Final = 0
MAX_STATE_BYTES: Final = 2**40
_NAME = re.compile(r"(0|[1-9][0-9]{0,18})\.bin")
_PACK_NAME = re.compile(r"[0-9a-f]{64}")


class CheckpointMissing(UsageError):
    """The run keeps no checkpoint of this step."""

    code = "storage.checkpoint-missing"


class CheckpointDamaged(StorageError):
    """The manifest of a checkpoint is not as it was written."""

    code = "storage.checkpoint-damaged"


class CheckpointRefused(UsageError):
    """A checkpoint whose tensors are not those that its records name."""

    code = "storage.checkpoint-refused"


class Placement(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a tensor lies."""

    pack: int  # index in the manifest's list of packs
    offset: int  # bytes


class Manifest(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a checkpoint is, without its tensors."""

    version: int
    step: int
    state_root: bytes
    aliases: AliasTable
    records: tuple[TensorRecord, ...]  # sorted by `model_state.sort_key`
    packs: tuple[bytes, ...]  # ids
    placements: tuple[Placement, ...]  # one for each record
    extra: bytes  # the recorder's own


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: `tensors[i]` are the bytes of `manifest.records[i]`, in memory of their own."""

    manifest: Manifest
    tensors: list[bytearray]


class CheckpointStore:
    """The checkpoints of a run; one writer at a time.

    Args:
        files: the disk.
        folder: where the manifests lie.
        packs: where the tensors lie.
        before: called with the step when a checkpoint is about to be named; it makes durable what must come first.
        writable: False: refuse to change anything.
    """

    def __init__(
        self,
        files: Files,
        folder: Path,
        packs: Path,
        *,
        before: Callable[[int], None] | None = None,
        writable: bool = True,
    ) -> None:
        self._files = files
        self._folder = folder
        self._packs = packs
        self._before = before
        self.writable = writable
        self._placed: dict[bytes, tuple[bytes, int]] = {}  # digest -> pack, offset; whole when last seen
        self._needs: dict[int, tuple[bytes, ...]] = {}  # step -> packs, for manifests written or read by this store

    def write(
        self,
        step: int,
        *,
        state_root: bytes,
        records: Sequence[TensorRecord],
        aliases: AliasTable,
        tensors: Sequence[Buffer],
        extra: bytes = b"",
    ) -> None:
        """Store the state after `step`; on return it is durable, and before that there is no trace of it.

        Args:
            step: 0 for the start.
            state_root: root over `records` and `aliases`, 32 bytes.
            records: sorted by `model_state.sort_key`.
            aliases: second names of tensors.
            tensors: the raw little-endian contiguous bytes of each record. Those that the last checkpoint written or
                read by this process holds already are not written again, and not looked at.
            extra: bytes that come back unchanged.

        Raises:
            CheckpointRefused: root, lengths or digests do not fit.
            NotWritable: the run was opened for reading.
            StorageError: the disk failed; older checkpoints are as they were.
        """
        refuse_unless(self.writable, self._folder)
        if len(tensors) != len(records) or compute_state_root(records, aliases) != state_root:
            raise CheckpointRefused(
                "the state root is not that of these records",
                expected=state_root.hex(),
                actual=f"{len(tensors)} tensors",
            )
        pack, new, views = self._choose_new(records, tensors)
        placed = {record.digest: self._placed.get(record.digest) or (pack, new[record.digest]) for record in records}
        names = sorted({where[0] for where in placed.values()})
        numbers = {name: number for number, name in enumerate(names)}
        manifest = Manifest(
            version=VERSION,
            step=step,
            state_root=state_root,
            aliases=aliases,
            records=tuple(records),
            packs=tuple(names),
            placements=tuple(Placement(numbers[placed[r.digest][0]], placed[r.digest][1]) for r in records),
            extra=extra,
        )
        data = encode(manifest)
        if len(data) > MAX_BYTES:
            raise CheckpointRefused(
                "the manifest is too large", expected=f"at most {MAX_BYTES} bytes", actual=len(data)
            )
        if new:
            write_atomic(self._files, self._packs / pack.hex(), views)
        if self._before is not None:
            self._before(step)
        write_atomic(self._files, self._get_path(step), [data, compute_bulk_digest(data)])
        self._placed = placed
        self._needs[step] = manifest.packs

    def _choose_new(
        self, records: Sequence[TensorRecord], tensors: Sequence[Buffer]
    ) -> tuple[bytes, dict[bytes, int], list[memoryview]]:
        """Return the id of a pack of the tensors that are not stored, their offsets, and their bytes."""
        new: dict[bytes, int] = {}
        views: list[memoryview] = []
        position, names = 0, bytearray()
        for record, tensor in zip(records, tensors, strict=True):
            if record.digest in self._placed or record.digest in new:
                continue
            view = as_bytes_view(tensor)
            actual = compute_bulk_digest(view)
            if actual != record.digest or view.nbytes != record.nbytes:
                raise CheckpointRefused(
                    f"the bytes of {record.name} are not those of its record",
                    expected=f"{record.nbytes} bytes, BLAKE3 {record.digest.hex()}",
                    actual=f"{view.nbytes} bytes, BLAKE3 {actual.hex()}",
                )
            new[record.digest] = position
            views.append(view)
            position += view.nbytes
            names += record.digest + record.nbytes.to_bytes(8, "little")
        return compute_bulk_digest(names), new, views

    def list_steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending."""
        found = (_NAME.fullmatch(name) for name in self._files.list_names(self._folder))
        return sorted(int(match[1]) for match in found if match)

    def read_manifest(self, step: int) -> Manifest:
        """Return the verified manifest of a checkpoint, without its tensors.

        Raises:
            CheckpointMissing: there is none of this step.
            CheckpointDamaged: it is not as it was written.
        """
        path = self._get_path(step)
        if self._files.get_kind(path) == "missing":
            kept = self.list_steps()
            shown = f"one of {kept}" if len(kept) <= 20 else f"one of {len(kept)} from {kept[0]} to {kept[-1]}"
            raise CheckpointMissing(f"no checkpoint of step {step}", expected=shown, actual=step)
        data = read_file(self._files, path, MAX_BYTES + 32)
        if compute_bulk_digest(data[:-32]) != data[-32:]:
            raise self._damaged(path, "its BLAKE3 does not match")
        try:
            manifest = decode(data[:-32], Manifest)
        except MalformedEvidence as error:
            raise self._damaged(path, str(error)) from None
        if manifest.version != VERSION or manifest.step != step:
            raise self._damaged(path, f"version {manifest.version}, step {manifest.step}")
        if (
            len(manifest.placements) != len(manifest.records)
            or any(not 0 <= where.pack < len(manifest.packs) for where in manifest.placements)
            or any(record.nbytes < 0 for record in manifest.records)
        ):
            raise self._damaged(path, "the placements do not fit the records")
        if compute_state_root(manifest.records, manifest.aliases) != manifest.state_root:
            raise self._damaged(path, "the state root is not that of the records")
        self._needs[step] = manifest.packs
        return manifest

    def _damaged(self, path: Path, actual: str) -> CheckpointDamaged:
        return CheckpointDamaged(
            f"the checkpoint {path} is damaged",
            expected="the manifest that was written",
            actual=actual,
            next_step="restore it from a copy of the run, or delete it: the run goes on from the checkpoint before",
        )

    def read(self, step: int, *, max_bytes: int = MAX_STATE_BYTES) -> Checkpoint:
        """Return a checkpoint, every tensor verified; it takes as much memory as the state.

        Args:
            step: one of `list_steps`.
            max_bytes: refuse a larger state before reading it.

        Raises:
            CheckpointMissing: there is none of this step.
            CheckpointDamaged: the manifest is not as it was written.
            FileTooLarge: the tensors take more than `max_bytes`.
            DigestMismatch: a tensor is not as it was written.
            FileMissing: a pack is gone.
        """
        manifest = self.read_manifest(step)
        size = sum(record.nbytes for record in manifest.records)
        if size > max_bytes:
            raise FileTooLarge(f"the state of step {step} is too large", expected=f"at most {max_bytes}", actual=size)
        tensors = self.read_tensors(manifest, range(len(manifest.records)))
        pairs = zip(manifest.records, manifest.placements, strict=True)
        self._placed.update({r.digest: (manifest.packs[where.pack], where.offset) for r, where in pairs})
        return Checkpoint(manifest, tensors)

    def read_tensors(self, manifest: Manifest, indices: Iterable[int]) -> list[bytearray]:
        """Return the verified bytes of some records of a manifest, by their index; raises as `read`."""
        opened: dict[int, OpenFile] = {}
        try:
            tensors = []
            for index in indices:
                where = manifest.placements[index]
                if where.pack not in opened:
                    path = self._packs / _name_pack(manifest.packs[where.pack])
                    opened[where.pack] = self._files.open_read(path)
                tensors.append(self._read_tensor(opened[where.pack], manifest.records[index], where.offset))
            return tensors
        finally:
            for file in opened.values():
                self._files.close(file)

    def stream_tensor(self, manifest: Manifest, index: int) -> TensorStream:
        """Open the bytes of one record of a manifest, by its index, to be read in parts.

        Raises:
            FileMissing: the pack is gone.
            CheckpointDamaged: the pack is too short.
        """
        where, record = manifest.placements[index], manifest.records[index]
        file = self._files.open_read(self._packs / _name_pack(manifest.packs[where.pack]))
        left = self._files.get_size(file) - where.offset
        if not 0 <= record.nbytes <= left or where.offset < 0:
            self._files.close(file)
            raise self._damaged(file.path, f"{left} bytes where {record.name} of {record.nbytes} bytes should be")
        return TensorStream(self._files, file, where.offset, record)

    def _read_tensor(self, file: OpenFile, record: TensorRecord, offset: int) -> bytearray:
        left = self._files.get_size(file) - offset
        if not 0 <= record.nbytes <= left or offset < 0:
            raise self._damaged(file.path, f"{left} bytes where {record.name} of {record.nbytes} bytes should be")
        data = bytearray(record.nbytes)
        self._files.read_into(file, offset, data)
        actual = compute_bulk_digest(data)
        if actual != record.digest:
            raise DigestMismatch(file.path, f"the tensor {record.name}", record.digest, actual)
        return data

    def remove(self, step: int) -> None:
        """Delete a checkpoint and what no other checkpoint needs; raises as `read_manifest`."""
        self.read_manifest(step)
        self.thin(set(self.list_steps()) - {step})

    def thin(self, keep: set[int]) -> None:
        """Delete all checkpoints but those of the steps in `keep`, and the tensors that only they needed.

        Raises:
            CheckpointDamaged: a kept manifest does not read; nothing was deleted.
            StorageError: the disk failed; every kept checkpoint is whole.
        """
        refuse_unless(self.writable, self._folder)
        steps = self.list_steps()
        needed = self._find_packs(step for step in steps if step in keep)
        dropped = [step for step in steps if step not in keep]
        for step in dropped:
            self._files.unlink(self._get_path(step))
            self._needs.pop(step, None)
        if dropped:
            self._files.fsync_dir(self._folder)
            self._delete_packs(needed)

    def delete_unneeded(self) -> None:
        """Delete the packs that a crash left without a manifest; nothing if any manifest is damaged."""
        try:
            needed = self._find_packs(self.list_steps())
        except StorageError:
            return
        self._delete_packs(needed)

    def _find_packs(self, steps: Iterable[int]) -> set[bytes]:
        return {pack for step in steps for pack in (self._needs.get(step) or self.read_manifest(step).packs)}

    def _delete_packs(self, needed: set[bytes]) -> None:
        for name in self._files.list_names(self._packs):
            if _PACK_NAME.fullmatch(name) and bytes.fromhex(name) not in needed:
                self._files.unlink(self._packs / name)
        self._placed = {digest: where for digest, where in self._placed.items() if where[0] in needed}

    def _get_path(self, step: int) -> Path:
        if not 0 <= step < 2**63:
            raise CheckpointMissing("no such step", expected="0 ≤ step < 2⁶³", actual=step)
        return self._folder / f"{step}.bin"


def _name_pack(pack: bytes) -> str:
    if len(pack) != 32:
        raise CheckpointDamaged("the id of a pack is not a digest", expected="32 bytes", actual=len(pack))
    return pack.hex()
