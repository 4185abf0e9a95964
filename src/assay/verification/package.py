"""From a recorded run to what is submitted: the facts that a ledger commits to, and the blobs behind them.

Nothing is written: blobs are cut when they are asked for, so that the commitment can be sent before any of them.

Source: `spec/submission-package.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from assay.errors import UsageError
from assay.protocol.contracts.submission_bodies import SubmitRun
from assay.protocol.encoding import Record, encode
from assay.protocol.evidence.bundle import (
    Bundle,
    BundleEntry,
    CheckpointList,
    compute_checkpoints,
    compute_manifest_id,
    open_checkpoint,
)
from assay.protocol.evidence.bundle import Checkpoint as Listed
from assay.protocol.evidence.model_state import AliasTable, TensorRecord, compute_rest_root
from assay.protocol.evidence.package import (
    CHUNK_BYTES,
    build_bundle,
    build_manifest,
    compute_bundle_bytes,
    compute_bundle_digest,
    cut,
    list_chunks,
    open_bundle,
)
from assay.protocol.evidence.plan import InitialisedStart, compute_closing_id
from assay.protocol.evidence.recorder_signature import sign_run
from assay.protocol.evidence.transcript import StepParts, compute_context
from assay.protocol.evidence.votes import compute_metrics_digest
from assay.protocol.hashing import ZERO, compute_bulk_digest
from assay.protocol.merkle import compute_path, hash_leaf
from assay.protocol.signatures import get_public_key
from assay.protocol.tags import TRANSCRIPT_TREE
from assay.storage.checkpoints import Checkpoint
from assay.training.arrays import view_bytes
from assay.training.data_store import open_data
from assay.training.events import NAME as EVENTS
from assay.training.recorded import RecordedRun
from assay.training.relink import Relinked, relink
from assay.training.signing import RecorderSignature
from assay.verification.certify import export_model, read_final

Source = Callable[[], bytes | memoryview]


class StateMissing(UsageError):
    """A run that does not keep the states that a submission needs."""

    code: ClassVar[str] = "package.state-missing"


class StateHeader(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What stands before the tensors in the blob of a checkpoint (PKG-6)."""

    version: int
    step: int
    aliases: AliasTable
    records: tuple[TensorRecord, ...]


class Terms(msgspec.Struct, frozen=True):
    """What a submitter chooses, within the parameters of the ledger.

    Attributes:
        sample: intervals drawn uniformly, the last one among them.
        sub_quorum: verifiers of each interval.
        measure: of the weight analysis that flags: 0 absolute, 1 L2, 2 percent, 3 cosine.
        threshold_ppm: its threshold, in millionths.
        bond: points that are lost if the run is rejected.
        reward: points for one vote.
        retention: height until which the blobs are kept.
        attempt: which submission of this plan it is, counted from 1.
    """

    sample: int
    sub_quorum: int
    measure: int
    threshold_ppm: int
    bond: int
    reward: int
    retention: int
    attempt: int


@dataclass(frozen=True)
class Package:
    """A run ready to be submitted.

    Attributes:
        body: of the transaction: what is committed to.
        context: of the account, the ledger and the nonce in it.
        bundle: names of all chunks.
        checkpoints: the committed list.
        sources: makes the bytes of each blob.
    """

    body: SubmitRun
    context: bytes
    bundle: Bundle
    checkpoints: tuple[Listed, ...]
    sources: dict[str, Source]

    def iterate_chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield (BLAKE3, bytes) of the bundle, then of every chunk; one blob is held in memory at a time."""
        data = encode(self.bundle)
        yield compute_bulk_digest(data), data
        for name in open_bundle(self.bundle):
            for chunk in cut(self.sources[name]()):
                yield compute_bulk_digest(chunk), bytes(chunk)

    def read_chunk(self, name: str) -> bytes:
        """Return the bytes of one entry of the bundle."""
        blob, _, position = name.rpartition("#")
        start = int(position) * CHUNK_BYTES
        return bytes(memoryview(self.sources[blob]())[start : start + CHUNK_BYTES])


def build_package(run: RecordedRun, *, seed: bytes, chain_id: bytes, nonce: int, terms: Terms) -> Package:
    """Return a finished run bound to one account on one ledger.

    Args:
        run: finished, with the state at its end stored.
        seed: of the account's key, 32 bytes; it signs the closing record as recorder.
        chain_id: of the ledger.
        nonce: the submitter's own choice; with account and ledger it gives the context.
        terms: of the submission.

    Raises:
        NotFinished, StateMissing: the run cannot be submitted.
        RunContradicts, MalformedEvidence, StorageError: it does not hold together.
    """
    context = compute_context(get_public_key(seed), chain_id, nonce)
    relinked = relink(run, context)
    signature = RecorderSignature(0, get_public_key(seed), sign_run(seed, relinked.closing))
    sources = _collect_objects(run, relinked, signature) | _collect_data(run)
    sources |= {f"state/{step}": _StateSource(run, step) for step in _list_states(run)}
    blobs = {name: list_chunks(name, source()) for name, source in sources.items()}
    checkpoints = tuple(_list_checkpoints(run, blobs))
    listed = encode(CheckpointList(0, checkpoints))
    sources["checkpoints"] = lambda: listed
    blobs["checkpoints"] = list_chunks("checkpoints", listed)
    bundle = build_bundle(entry for entries in blobs.values() for entry in entries)
    open_bundle(bundle)
    body = _make_body(run, relinked, bundle, checkpoints, nonce, terms)
    return Package(body, context, bundle, checkpoints, sources)


def _make_body(
    run: RecordedRun,
    relinked: Relinked,
    bundle: Bundle,
    checkpoints: Sequence[Listed],
    nonce: int,
    terms: Terms,
) -> SubmitRun:
    closing, plan = relinked.closing, run.plan
    final = read_final(run)
    hashes = [hash_leaf(TRANSCRIPT_TREE, leaf) for leaf in relinked.leaf_ids]
    return SubmitRun(
        plan=run.plan_id,
        closing=compute_closing_id(closing),
        profile=plan.profile,
        context_nonce=nonce,
        transcript=closing.transcript,
        transcript_path=compute_path(TRANSCRIPT_TREE, hashes, 0),
        checkpoints=compute_checkpoints(checkpoints),
        first=open_checkpoint(checkpoints, 0),
        last=open_checkpoint(checkpoints, len(checkpoints) - 1),
        model_root=closing.model_root,
        rest_root=compute_rest_root(final.manifest.records),
        model_file=bytes.fromhex(export_model(final, lambda _: None)[0]),
        bundle=compute_bundle_digest(bundle),
        bundle_bytes=compute_bundle_bytes(bundle),
        steps=closing.steps,
        interval_length=plan.interval_length,
        start_check=isinstance(plan.start, InitialisedStart),
        metrics=compute_metrics_digest(closing.evaluations) if closing.evaluations else ZERO,
        **msgspec.structs.asdict(terms),
    )


def _collect_objects(run: RecordedRun, relinked: Relinked, signature: RecorderSignature) -> dict[str, Source]:
    records: dict[str, Record] = {
        "plan": run.plan,
        "profile": run.profile,
        "start": relinked.start,
        "closing": relinked.closing,
        "signature": signature,
    }
    made = {name: encode(record) for name, record in records.items()}
    made["rows"] = frame_rows(relinked.rows)
    for use in run.closing.programs:
        made[f"program/{use.program.hex()}"] = encode(run.read_program(use.program))
    for evaluation in run.closing.evaluations:
        made.setdefault(f"program/{evaluation.program.hex()}", encode(run.read_program(evaluation.program)))
    found: dict[str, Source] = {name: lambda data=data: data for name, data in made.items()}  # type: ignore[misc]
    return found | _collect_events(run)


def _collect_events(run: RecordedRun) -> dict[str, Source]:
    """Return the declared events and the tensors of edits, of a run that has any (PKG-4)."""
    if not run.events:
        return {}
    found: dict[str, Source] = {"events": lambda: run.directory.read_object(EVENTS)}
    for one in run.events:
        for record in one.records:
            found[f"edit/{record.digest.hex()}"] = lambda digest=record.digest: run.directory.blobs.open(digest)  # type: ignore[misc]
    return found


def frame_rows(rows: list[StepParts]) -> bytes:
    """Return the rows of a run as one blob: each as u32 length, little-endian, and canonical bytes (PKG-4)."""
    encoded = [encode(parts) for parts in rows]
    return b"".join(len(data).to_bytes(4, "little") + data for data in encoded)


def _collect_data(run: RecordedRun) -> dict[str, Source]:
    names = ["train", *(f"test-{e.data.leaves.root.hex()[:16]}" for e in run.closing.evaluations)]
    found: dict[str, Source] = {}
    for name in names:
        manifest = run.directory.read_object(f"{name}.bin")
        _, packed = open_data(run.directory, name)
        found[f"{name}/manifest"] = lambda manifest=manifest: manifest  # type: ignore[misc]
        for position, field in enumerate(packed.fields):
            found[f"{name}/{position}"] = lambda field=field: view_bytes(field.values)  # type: ignore[misc]
    return found


def _list_states(run: RecordedRun) -> list[int]:
    """Return the steps whose states are submitted: all stored ones, but not a start that a program makes."""
    made = isinstance(run.plan.start, InitialisedStart)
    steps = [
        step for step in run.directory.checkpoints.list_steps() if 0 < step <= run.steps or (not step and not made)
    ]
    missing = [step for step in ([] if made else [0]) + [run.steps] if step not in steps]
    if missing:
        raise StateMissing(
            f"the run does not keep the state of step {missing[0]}",
            expected="the states at its end and, where no program makes it, at its start",
            next_step="restore the checkpoints of the run from a copy",
        )
    return steps


class _StateSource:
    """Makes the blob of one checkpoint when it is asked for."""

    def __init__(self, run: RecordedRun, step: int) -> None:
        self.run = run
        self.step = step

    def __call__(self) -> bytes:
        return build_state_blob(self.run.directory.checkpoints.read(self.step))


def build_state_blob(checkpoint: Checkpoint) -> bytes:
    """Return the blob of a checkpoint: u64 length of the header, the header, the tensors in their order (PKG-6)."""
    manifest = checkpoint.manifest
    header = encode(StateHeader(0, manifest.step, manifest.aliases, manifest.records))
    return b"".join([len(header).to_bytes(8, "little"), header, *checkpoint.tensors])


def _list_checkpoints(run: RecordedRun, blobs: Mapping[str, Sequence[BundleEntry]]) -> list[Listed]:
    """Return the state before each interval and the one at the end, stored or not (PKG-5)."""
    found = []
    for step in [*range(0, run.steps, run.plan.interval_length), run.steps]:
        entries = blobs.get(f"state/{step}")
        manifest = build_manifest(entries) if entries is not None else None
        identity, length = (compute_manifest_id(manifest), manifest.length) if manifest else (ZERO, 0)
        found.append(Listed(step, run.get_claimed_root(step) or ZERO, identity, length))
    return found
