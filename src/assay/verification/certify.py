"""From a run and the findings of its audit to a training certificate, and to the model file that it names.

Source: `spec/certificate.md`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np

from assay.certificate.build import AuditEvidence, EvaluationCheck, RunEvidence, build_certificate
from assay.certificate.model_file import TensorSpec, get_file_name, write_model
from assay.certificate.statement import (
    ConstantSummary,
    FindingClaim,
    Kind,
    ModelFile,
    ProgramSummary,
    Result,
    ScalarSummary,
)
from assay.errors import UsageError
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import (
    BUFFER,
    MODEL_NAMESPACES,
    PARAM,
    TRANSIENT,
    compute_model_root,
    compute_rest_root,
)
from assay.protocol.hashing import compute_bulk_digest
from assay.storage.checkpoints import Checkpoint
from assay.storage.files import Files, write_atomic
from assay.training.data_store import open_data
from assay.training.recorded import RecordedRun, RunContradicts
from assay.training.signing import read_signature
from assay.verification.audit import Audit
from assay.verification.structure import verify_records

FILE_NAME = "model.safetensors"
KINDS: tuple[Literal["initialiser"], Literal["step"], Literal["inference"]] = ("initialiser", "step", "inference")
MAX_SCALARS = 64
"""Scalars that a certificate lists one by one."""

_SPIKE = 10
_INTEGERS = ("i8", "i16", "i32", "i64", "u8")


def read_final(run: RecordedRun) -> Checkpoint:
    """Return the stored state at the end of a finished run.

    Raises:
        RunContradicts: it is not the one that the closing record names.
    """
    checkpoint = run.directory.checkpoints.read(run.closing.steps)
    if checkpoint.manifest.state_root != run.closing.final_state:
        raise RunContradicts("the stored final state is not the one that the closing record names")
    return checkpoint


def export_model(checkpoint: Checkpoint, write: Callable[[bytes | memoryview], object]) -> tuple[str, int]:
    """Write parameters and persistent buffers as a canonical model file.

    Args:
        checkpoint: a verified state.
        write: takes the next bytes.

    Returns:
        SHA-256 as hex digits, and the size in bytes.
    """
    pairs = zip(checkpoint.manifest.records, checkpoint.tensors, strict=True)
    model = [(record, data) for record, data in pairs if record.namespace in MODEL_NAMESPACES]
    names = [record.name for record, _ in model]
    data_of = {get_file_name(record.name, names): memoryview(data) for record, data in model}
    specs = [TensorSpec(get_file_name(record.name, names), record.dtype, record.shape) for record, _ in model]
    size = 0

    def count(data: bytes | memoryview) -> None:
        nonlocal size
        size += len(data)
        write(data)

    digest = write_model(count, specs, data_of.__getitem__)
    return digest.hex(), size


def export_file(path: Path, out: Path) -> dict[str, str | int]:
    """Write the model of a finished run into a file, at once, in place of what is there.

    Returns:
        sha256 and modelRoot as hex digits, bytes.

    Raises:
        NotFinished: the run has no closing record.
        Refuted, MalformedEvidence, StorageError: the run does not hold together, or the disk.
    """
    run = RecordedRun(path)
    try:
        verify_records(run)
        final = read_final(run)
        root = run.closing.model_root
        if compute_model_root(final.manifest.records, final.manifest.aliases) != root:
            raise RunContradicts("the stored model is not the one that the closing record names", expected=root.hex())
        parts: list[bytes | memoryview] = []
        digest, size = export_model(final, parts.append)
    finally:
        run.close()
    write_atomic(Files(), out, parts)
    return {"sha256": digest, "modelRoot": root.hex(), "bytes": size}


def certify(audit: Audit, seed: bytes) -> bytes:
    """Return the training certificate of an audited run, signed by the auditor.

    Args:
        audit: complete; findings that differ are certified as such.
        seed: of the auditor's key, 32 bytes.

    Raises:
        UsageError: some tasks have no finding yet.
    """
    if not audit.is_complete:
        raise UsageError(
            "the audit is not complete, so there is nothing to certify yet",
            actual=f"{len(audit.failed)} of {len(audit.answers)} tasks have no finding",
            next_step="run the same audit again: it goes on where it stopped",
        )
    return build_certificate(collect_run(audit.run), _collect_findings(audit), [seed])


def collect_run(run: RecordedRun) -> RunEvidence:
    """Return what a certificate takes from a finished run itself."""
    final = read_final(run)
    signature = read_signature(run.directory, run.closing)
    digest, size = export_model(final, lambda _: None)
    records = final.manifest.records
    return RunEvidence(
        plan=run.plan,
        closing=run.closing,
        profile=run.profile,
        recorder_key=signature.public_key,
        recorder_signature=signature.signature,
        leaf_ids=run.leaf_ids,
        first_leaf=run.start_leaf,
        last_leaf=run.rows[-1].leaf,
        rest_root=compute_rest_root(records),
        tensors=records,
        aliases=final.manifest.aliases,
        files=[ModelFile(FILE_NAME, digest, str(size))],
        events=[(one.event, one.edit) for one in run.events],
    )


def _collect_findings(audit: Audit) -> AuditEvidence:
    run, kind, chosen = audit.run, audit.selection.kind, set(audit.selection.intervals)
    findings = [
        FindingClaim(
            answer.index, cast(Kind, kind if answer.index in chosen else "flagged"), cast(Result, answer.result)
        )
        for answer in audit.get("interval")
    ]
    start, scalars = audit.get("start"), audit.get("scalars")
    programs = [run.read_program(use.program) for use in run.uses]
    return AuditEvidence(
        findings=findings,
        replays=1,
        start_recomputed=bool(start) and start[0].result == "matches",
        start_differs=bool(start) and start[0].result == "differs",
        programs=[summarise_program(program, use.first_step) for program, use in zip(programs, run.uses, strict=True)],
        scalars=[*summarise_rates(run, programs), *summarise_others(run, programs)],
        differing_rows=scalars[0].differing_rows if scalars else None,
        evaluations=[
            EvaluationCheck(
                answer.result == "matches", _count_overlap(run, answer.index), differs=answer.result == "differs"
            )
            for answer in audit.get("evaluation")
        ],
    )


def _count_overlap(run: RecordedRun, index: int) -> int:
    """Return how many samples of a test set have the content of a training sample."""
    root = run.closing.evaluations[index].data.leaves.root
    _, train = open_data(run.directory, "train")
    _, test = open_data(run.directory, f"test-{root.hex()[:16]}")
    known = {row.tobytes() for row in train.compute_hashes()[1]}
    return sum(row.tobytes() in known for row in test.compute_hashes()[1])


def summarise_program(program: ir.Program, first_step: int) -> ProgramSummary:
    """Return what a certificate says of a program."""
    return ProgramSummary(
        id=ir.compute_program_id(program).hex(),
        kind=KINDS[program.kind],
        first_step=str(first_step),
        nodes=len(program.nodes),
        constants=[
            ConstantSummary(c.type.dtype, list(c.type.shape), compute_bulk_digest(c.data).hex())
            for c in program.constants
        ],
        counters=find_counters(program),
    )


def find_counters(program: ir.Program) -> list[str]:
    """Return the tensors of the state that could count steps.

    Those are buffers of integers that the program changes, and tensors of any kind whose new value does not depend on
    the batch. A counter that also reads the batch is not found.
    """
    from_batch = _find_reached(program)
    types = {(entry.namespace, entry.name): entry.type.dtype for entry in program.state}
    return [
        output.name
        for output in program.state_outputs
        if (output.namespace, output.name) in types
        and (
            output.value not in from_batch
            or (output.namespace in (BUFFER, TRANSIENT) and types[output.namespace, output.name] in _INTEGERS)
        )
    ]


def _find_reached(program: ir.Program) -> set[int]:
    """Return the values that depend on the batch."""
    number = len(program.state)
    reached = set(range(number, number + len(program.batch)))
    number += len(program.batch) + len(program.constants)
    for node in program.nodes:
        if not reached.isdisjoint(iterate_read(node)):
            reached.update(range(number, number + len(node.outputs)))
        number += len(node.outputs)
    return reached


def iterate_read(node: ir.Node) -> Iterator[int]:
    """Yield the numbers of the values that a node reads."""
    for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
        for item in argument.items if isinstance(argument, ir.Sequence) else (argument,):
            if isinstance(item, ir.Value):
                yield item.index


def find_rates(program: ir.Program) -> list[int]:
    """Return the scalars that multiply an update when it is added to a parameter: the learning rates."""
    first = len(program.state) + len(program.batch) + len(program.constants)
    producer: dict[int, ir.Node] = {}
    for node in program.nodes:
        for offset in range(len(node.outputs)):
            producer[first + offset] = node
        first += len(node.outputs)
    rates: list[int] = []
    for output in program.state_outputs:
        node_or_none = producer.get(output.value) if output.namespace == PARAM else None
        for keyword in node_or_none.keywords if node_or_none else ():
            if isinstance(keyword.value, ir.Scalar) and keyword.value.index not in rates:
                rates.append(keyword.value.index)
    return sorted(rates)


def summarise_rates(run: RecordedRun, programs: Sequence[ir.Program]) -> list[ScalarSummary]:
    """Return extremes of the learning rates over all steps, and the steps that stand out."""
    return _summarise_columns(run, programs, find_rates, "rate")


def summarise_others(run: RecordedRun, programs: Sequence[ir.Program]) -> list[ScalarSummary]:
    """Return the same of all other scalars: bias corrections, or whatever a program takes from the rows.

    Beyond `MAX_SCALARS` they are one entry, over all of them, whose name says how many they are.
    """

    def find(program: ir.Program) -> list[int]:
        return sorted(set(range(program.scalars)) - set(find_rates(program)))

    return _summarise_columns(run, programs, find, "scalar")


def _summarise_columns(
    run: RecordedRun, programs: Sequence[ir.Program], find: Callable[[ir.Program], list[int]], name: str
) -> list[ScalarSummary]:
    places = {use.program: find(program) for use, program in zip(run.uses, programs, strict=True)}
    count = max(map(len, places.values()), default=0)
    columns: dict[int, list[float]] = {}
    for row in run.rows:
        values = np.abs(np.frombuffer(row.scalars, "<f8")[places[row.leaf.program]])
        for number, value in enumerate(values[:MAX_SCALARS].tolist()):
            columns.setdefault(number, []).append(value)
        columns.setdefault(MAX_SCALARS, []).extend(values[MAX_SCALARS:].tolist())
    names = {number: f"{name} {number}" for number in range(MAX_SCALARS)}
    names[MAX_SCALARS] = f"{max(0, count - MAX_SCALARS)} more scalars"
    return [_summarise(names[number], values) for number, values in sorted(columns.items()) if values]


def _summarise(name: str, values: Sequence[float]) -> ScalarSummary:
    median = statistics.median(values)
    return ScalarSummary(
        name=name,
        minimum=repr(min(values)),
        maximum=repr(max(values)),
        zero_steps=str(sum(value == 0 for value in values)),
        spike_steps=str(sum(value > _SPIKE * median for value in values)),
    )
