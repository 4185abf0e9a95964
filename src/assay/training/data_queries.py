"""Questions about the data of a run: is this sample in it, which steps used it, what is there twice, what overlaps.

Everything is answered from the stored samples, whose commitment is recomputed first: an answer holds for the data set
that the plan names, or there is none.

Source: `spec/data.md`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import msgspec
import numpy as np

from assay.errors import Refuted, UsageError
from assay.protocol import tags
from assay.protocol.evidence.data import VERSION, DataLeaf, SampleContent, SampleField, compute_content_digest
from assay.protocol.evidence.data_proof import AbsenceProof, InclusionProof
from assay.protocol.evidence.order import count_batches, locate_step
from assay.protocol.hashing import compute_bulk_digest
from assay.protocol.merkle import compute_path
from assay.training.arrays import TYPE_NAMES, Array, view_bytes
from assay.training.compare.side import Side
from assay.training.data_store import open_data
from assay.training.feed import Feed
from assay.training.order import compute_order
from assay.training.packed import Hashes, PackedData, make_salts
from assay.training.samples import flatten_sample

MAX_SAMPLE_BYTES: Final = 1 << 28
MAX_PROVEN_ABSENT: Final = 200_000
"""Samples of a data set whose absence proof is written: it lists them all."""


class SampleRefused(UsageError):
    """What was given as a sample is none."""

    code: ClassVar[str] = "data.sample"


class FeedContradicts(Refuted):
    """A step that should have used a sample says that it was fed other samples."""

    code: ClassVar[str] = "data.feed-contradicts"


class Found(msgspec.Struct, frozen=True, rename="camel"):
    """What was found out about one sample.

    Attributes:
        content: its content digest.
        present: whether the data set holds it.
        indices: where; ascending.
        similar: (index, field) of samples that share a field with it and are not equal to it, at most 20.
        steps: that were fed one of `indices`, ascending; each was compared with the step's leaf.
        samples: how many the data set has.
        root: of the data set.
    """

    content: str
    present: bool
    indices: list[int]
    similar: list[tuple[int, str]]
    steps: list[int]
    samples: int
    root: str


@dataclass(frozen=True)
class Sample:
    """A sample that is looked for: its content digest, and the digests of its fields by name if they are known."""

    content: bytes
    fields: tuple[SampleField, ...] = ()


@dataclass(frozen=True)
class OpenedData:
    """A data set of a run whose commitment holds: its samples, hashes of its leaves, content digests."""

    packed: PackedData
    leaf_hashes: Hashes
    contents: Hashes


def open_verified(side: Side, name: str = "train") -> OpenedData:
    """Open a data set of a run and recompute its commitment.

    Raises:
        DataMismatch: the stored samples are not those that were committed to.
        StorageError, MalformedEvidence: they cannot be read.
    """
    record, packed = open_data(side, name)
    expected = side.plan.data if name == "train" else record
    packed.verify_commitment(expected)
    leaf_hashes, contents = packed.compute_hashes()
    return OpenedData(packed, leaf_hashes, contents)


def read_sample(text: str) -> Sample:
    """Return the sample that a word of the command line names.

    Args:
        text: 64 hex digits: a content digest · FILE.npy: an array, the only field · FILE.npz: arrays, the fields, by
            their names, those without names in their order as `#0`, `#1`, … · RUN:INDEX: a training sample of a run.

    Raises:
        SampleRefused: anything else.
    """
    if len(text) == 64 and all(c in "0123456789abcdef" for c in text):
        return Sample(bytes.fromhex(text))
    path = Path(text)
    if path.suffix in {".npy", ".npz"} and path.is_file():
        return make_sample(*_load_arrays(path))
    folder, _, number = text.rpartition(":")
    if folder and number.isascii() and number.isdigit() and len(number) < 16:
        return _take_sample(Path(folder), int(number))
    raise SampleRefused(
        "not a sample",
        expected="64 hex digits, a file .npy or .npz, or RUN:INDEX",
        actual=ascii(text[:80]),
        next_step="numpy.savez(file, image, label) writes the fields of a tuple in their order",
    )


def _take_sample(folder: Path, index: int) -> Sample:
    side = Side(folder)
    packed = open_data(side, "train")[1]
    if not 0 <= index < packed.size:
        raise SampleRefused(f"{folder} has no sample {index}", expected=f"0 to {packed.size - 1}")
    return make_sample(packed.names, packed.get_sample(index))


def _load_arrays(path: Path) -> tuple[tuple[str, ...], list[Array]]:
    if path.stat().st_size > MAX_SAMPLE_BYTES:
        raise SampleRefused(f"{path} is too large for a sample", expected=f"at most {MAX_SAMPLE_BYTES} bytes")
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_SAMPLE_BYTES:
                raise SampleRefused(f"{path} is too large for a sample", expected=f"at most {MAX_SAMPLE_BYTES} bytes")
            with np.load(path, allow_pickle=False) as loaded:
                arrays = dict(loaded)
        else:
            arrays = {"": np.load(path, allow_pickle=False)}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, SyntaxError) as error:
        raise SampleRefused(f"{path} is no file of NumPy arrays", actual=str(error)[:200]) from None
    if all(name.startswith("arr_") for name in arrays):
        return flatten_sample(tuple(arrays.values()), lambda _: None)
    return tuple(sorted(arrays, key=str.encode)), [arrays[name] for name in sorted(arrays, key=str.encode)]


def make_sample(names: Sequence[str], values: Sequence[Array]) -> Sample:
    """Return the sample with these fields (DAT-5, DAT-7).

    Raises:
        SampleRefused: an array of a type that no sample has.
    """
    fields = []
    for name, value in zip(names, values, strict=True):
        if value.dtype not in TYPE_NAMES:
            raise SampleRefused(f"field {name!r} has the type {value.dtype}", expected=", ".join(TYPE_NAMES.values()))
        data = np.ascontiguousarray(value).reshape(value.shape)
        fields.append(SampleField(name, TYPE_NAMES[value.dtype], value.shape, compute_bulk_digest(view_bytes(data))))
    return Sample(compute_content_digest(SampleContent(VERSION, tuple(fields))), tuple(fields))


def find_sample(side: Side, sample: Sample) -> Found:
    """Return whether a run's training set holds a sample, where, and which steps were fed it.

    Raises:
        DataMismatch: the stored samples are not those that the plan commits to.
        FeedContradicts: the leaf of such a step says otherwise.
    """
    data = open_verified(side)
    indices = [int(i) for i in np.flatnonzero((data.contents == np.frombuffer(sample.content, np.uint8)).all(axis=1))]
    return Found(
        content=sample.content.hex(),
        present=bool(indices),
        indices=indices,
        similar=_find_similar(data.packed, sample, set(indices)),
        steps=find_steps(side, data, indices),
        samples=data.packed.size,
        root=side.plan.data.leaves.root.hex(),
    )


def _find_similar(packed: PackedData, sample: Sample, known: set[int]) -> list[tuple[int, str]]:
    """Return samples that share a field of more than 16 bytes with a sample, such as an image under another label."""
    found: list[tuple[int, str]] = []
    wanted = {field.name: field for field in sample.fields}
    for field in packed.fields:
        if field.name not in wanted or wanted[field.name].dtype != field.dtype:
            continue
        for index in range(packed.size):
            value = field.get_sample(index)
            if index in known or value.shape != wanted[field.name].shape or value.nbytes <= 16:
                continue
            if compute_bulk_digest(view_bytes(np.ascontiguousarray(value))) == wanted[field.name].digest:
                found.append((index, field.name))
                if len(found) == 20:
                    return found
    return found


def find_steps(side: Side, data: OpenedData, indices: Sequence[int]) -> list[int]:
    """Return the steps that were fed one of these samples, each compared with its leaf."""
    if not indices:
        return []
    plan, size = side.plan, data.packed.size
    per_epoch = count_batches(size, plan.batch_size, plan.last_batch)
    feed = Feed(
        data.packed, data.leaf_hashes, seed=plan.seed, order_version=plan.order_version,
        batch_size=plan.batch_size, last_batch=plan.last_batch, collate=plan.collate,
    )  # fmt: skip
    steps: list[int] = []
    epochs = locate_step(max(side.steps, 1), per_epoch)[0] + 1
    for epoch in range(epochs):
        order = compute_order(plan.order_version, plan.seed, epoch, size)
        batches = sorted({int(place) // plan.batch_size for place in np.flatnonzero(np.isin(order, indices))})
        steps += [epoch * per_epoch + batch + 1 for batch in batches if batch < per_epoch]
    steps = [step for step in steps if step <= side.steps]
    for step in steps:
        if side.read_row(step).parts.membership != feed.get_batch(step).membership:
            raise FeedContradicts(f"step {step} says that it was fed other samples than the plan's order gives")
    return steps


def make_presence(side: Side, index: int) -> InclusionProof:
    """Return the proof that sample `index` stands in the training set of a run (DAT-13)."""
    data = open_verified(side)
    hashes = [row.tobytes() for row in data.leaf_hashes]
    return InclusionProof(
        0, side.plan.data.leaves, make_leaf(data.packed, index), compute_path(tags.DATA_TREE, hashes, index)
    )


def make_absence(side: Side, content: bytes) -> AbsenceProof:
    """Return the proof that no training sample of a run has this content (DAT-14).

    Raises:
        SampleRefused: the data set is too large for a proof that lists all samples.
    """
    packed = open_verified(side).packed
    if packed.size > MAX_PROVEN_ABSENT:
        raise SampleRefused(
            "a proof of absence lists every sample, and there are too many",
            expected=f"at most {MAX_PROVEN_ABSENT} samples",
            actual=packed.size,
            next_step="whoever has the run can repeat the search itself",
        )
    entries = tuple(make_leaf(packed, index) for index in range(packed.size))
    return AbsenceProof(0, side.plan.data.leaves, content, entries)


def make_leaf(packed: PackedData, index: int) -> DataLeaf:
    """Return the data leaf of a sample (DAT-5)."""
    salts = make_salts(packed.salt_key, packed.size)
    sample = make_sample(packed.names, packed.get_sample(index))
    return DataLeaf(VERSION, index, salts[32 * index : 32 * index + 32], sample.fields)


def find_duplicates(contents: Hashes) -> list[list[int]]:
    """Return the groups of indices whose samples are equal, the largest group first."""
    groups: dict[bytes, list[int]] = {}
    for index, digest in enumerate(contents):
        groups.setdefault(digest.tobytes(), []).append(index)
    return sorted((group for group in groups.values() if len(group) > 1), key=lambda group: (-len(group), group))


def find_overlap(one: Hashes, other: Hashes) -> list[tuple[int, int]]:
    """Return (index in `one`, index in `other`) of each sample of `other` whose content `one` holds too."""
    known = {row.tobytes(): index for index, row in reversed(list(enumerate(one)))}
    return [(known[row.tobytes()], index) for index, row in enumerate(other) if row.tobytes() in known]


def list_test_sets(side: Side) -> list[str]:
    """Return the names of the test sets that a run stores."""
    return sorted(path.stem for path in side.path.glob("test-*.bin") if path.is_file())
