"""The in-toto Statement and the one predicate of a training certificate.

Integers that may exceed 2**53 - 1 and all reals are strings. What does not exist is said in words ("none", "not
computed"); only the evidence of a ledger is absent where there is none.

Source: in-toto Attestation Framework, Statement v1; `spec/certificate.md`,
CRT-5 to CRT-23.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from assay.certificate.dsse import decode_base64, decode_json, encode_base64
from assay.certificate.json_forms import Chance, Json, LedgerClaim
from assay.certificate.rejections import MalformedCertificate, NewerFormat
from assay.protocol.decoders import get_json_decoder
from assay.protocol.encoding import Record, RecordT, bits_to_float, decode, encode
from assay.protocol.evidence.plan import Metric

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_FAMILY = "urn:assay:training-certificate:"
VERSION = 0
MODEL_ROOT_DIGEST = "assayModelRoot"
NOT_COMPUTED = "not computed"
MAX_LISTED = 4096

Level = Literal["observed", "replayable", "recomputed"]
Kind = Literal["uniform", "private", "flagged", "all"]
Check = Literal["recomputed", "declared", "differs"]
StartKind = Literal["initialised", "certified", "declared"]
Result = Literal["matches", "differs", "inconclusive"]


class Document(Json, frozen=True):
    """A record in full: its id (hex), its canonical bytes (base64), and a rendering that is derived from the bytes."""

    id: str
    bytes: str
    readable: Any


class Recorder(Json, frozen=True):
    """Whoever recorded: public key (hex) and signature (base64) over transcript root and closing record."""

    key: str
    signature: str


class StartClaim(Json, frozen=True):
    """Where training started; `check`: whoever signs ran the initialiser and got it, got another one, or did not."""

    kind: StartKind
    root: str
    check: Literal["recomputed", "not recomputed", "differs"]


class SeedClaim(Json, frozen=True):
    """Who chose the seed, and how many plans were registered before (0 alone: nobody counted)."""

    origin: str
    registrations: str


class LeafProof(Json, frozen=True):
    """A leaf of the transcript in full (base64) and its inclusion path (hex)."""

    leaf: str
    path: list[str]


class Roots(Json, frozen=True):
    """The roots of the run, and the proofs that join them."""

    transcript: str
    final_state: str
    model: str
    rest: str
    first_leaf: LeafProof
    last_leaf: LeafProof


class AliasClaim(Json, frozen=True):
    """A second name of a tied tensor."""

    name: str
    target: str


class ModelFile(Json, frozen=True):
    """An exported file: name for people, SHA-256 (hex), size in bytes (decimal)."""

    name: str
    sha256: str
    size: str


class ModelClaim(Json, frozen=True):
    """What joins the tensors of a file to the model root: namespaces by list, names sorted bytewise, and aliases."""

    parameters: list[str]
    buffers: list[str]
    aliases: list[AliasClaim]
    files: list[ModelFile]


class ConstantSummary(Json, frozen=True):
    """A constant of a program: element type, shape, BLAKE3 of its bytes (hex)."""

    dtype: str
    shape: list[int]
    digest: str


class ProgramSummary(Json, frozen=True):
    """One program of the run, in the order of the closing record."""

    id: str
    kind: Literal["initialiser", "step", "inference"]
    first_step: str
    nodes: int
    constants: list[ConstantSummary]
    counters: list[str]  # buffers that could count steps


class ScalarSummary(Json, frozen=True):
    """One scalar of the rows, such as a rate: extremes (binary64, shortest form) and steps that stand out (decimal)."""

    name: str
    minimum: str
    maximum: str
    zero_steps: str  # steps at which it was 0
    spike_steps: str  # steps at which it exceeded 10 times its median


class ScalarsClaim(Json, frozen=True):
    """The table of scalars; `differing`: rows that no settings of the optimizers explain, or "not computed"."""

    rows: list[ScalarSummary]
    differing: str


class FindingClaim(Json, frozen=True):
    """One recomputed interval, counted from 0."""

    interval: int
    kind: Kind
    result: Result


class FindingsTree(Json, frozen=True):
    """Merkle pair over all findings, when there are more than `MAX_LISTED`."""

    size: int
    root: str


class FindingsClaim(Json, frozen=True):
    """All findings, or beyond `MAX_LISTED` their tree and those that did not match."""

    listed: list[FindingClaim]
    tree: FindingsTree | Literal["none"]


class ChancesClaim(Json, frozen=True):
    """Of missing exactly one false interval; the smallest number of false intervals caught with 95 %, or "none"."""

    formula: int
    miss_one: Chance
    caught95: str


class MetricClaim(Json, frozen=True):
    """One value: binary64 in its shortest form, and the count it was divided by (decimal)."""

    name: str
    value: str
    count: str


class EvaluationClaim(Json, frozen=True):
    """One evaluation of the closing record; `overlap`: samples that are in the training set too, or "not computed"."""

    step: str
    program: str
    data_root: str
    data_size: str
    metrics: list[MetricClaim]
    check: Check
    overlap: str


class Checker(Json, frozen=True):
    """Who recomputed: public key (hex), profile id (hex), replays of each interval."""

    key: str
    profile: str
    replays: int


class EventClaim(Json, frozen=True):
    """A declared event: step (decimal), kind, reason, and its canonical bytes (base64).

    Of an edit also its canonical bytes (base64), the number of changed tensors (decimal) and the norm of the change;
    otherwise "none", "0" and "none".
    """

    step: str
    kind: str
    reason: str
    bytes: str
    edit: str
    tensors: str
    norm: str


class Predicate(Json, frozen=True):
    """What a training certificate says."""

    spec_version: int
    level: Level
    plan: Document
    closing: Document
    profile: Document
    recorder: Recorder
    template: Literal["none"]
    start: StartClaim
    seed: SeedClaim
    roots: Roots
    model: ModelClaim
    programs: list[ProgramSummary]
    scalars: ScalarsClaim
    intervals: int
    sampled: int
    findings: FindingsClaim
    chances: ChancesClaim
    evaluations: list[EvaluationClaim]
    checkers: list[Checker]
    events: list[EventClaim]
    ledger: LedgerClaim | msgspec.UnsetType = msgspec.UNSET  # absent alone


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the statement is about: the model root first, then each exported file."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The in-toto Statement."""

    type: str = msgspec.field(name="_type")
    subject: list[Subject]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: Predicate


class _AnyStatement(msgspec.Struct, frozen=True):
    predicate_type: str = msgspec.field(name="predicateType")


def decode_statement(payload: bytes) -> Statement:
    """Return the statement that a payload holds (CRT-5, CRT-6).

    Raises:
        NewerFormat: a training certificate of a later version.
        MalformedCertificate: anything else that is not the one canonical form.
    """
    try:
        family, _, version = get_json_decoder(_AnyStatement).decode(payload).predicate_type.rpartition(":")
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise MalformedCertificate("the payload is no Statement", actual=str(error)) from None
    if family + ":" != PREDICATE_FAMILY or not version.isdecimal() or str(int(version[:18])) != version:
        raise MalformedCertificate("another kind of statement", expected=f"{PREDICATE_FAMILY}{VERSION}")
    if int(version) > VERSION:
        raise NewerFormat(
            "the certificate has a newer format", expected=VERSION, actual=version, next_step="install a newer Assay"
        )
    statement = decode_json(payload, Statement)
    if statement.type != STATEMENT_TYPE or statement.predicate.spec_version != VERSION:
        raise MalformedCertificate("statement type or version of the specification", expected=STATEMENT_TYPE)
    return statement


def render(value: object) -> Any:
    """Return a record as plain JSON values for people: integers as decimal strings, bytes as hex (CRT-11).

    A choice between records shows which one as "kind". The value of a metric is shown as its binary64.
    """
    if isinstance(value, Record):
        shown = {field: render(getattr(value, field)) for field in value.__struct_fields__}
        if value.__struct_config__.tag is not None:
            shown = {"kind": str(value.__struct_config__.tag), **shown}
        if isinstance(value, Metric):
            shown["value"] = render_bits(value.value)
        return shown
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [render(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def render_bits(bits: int) -> str:
    """Return the shortest decimal of a binary64 that is given by its bits (CRT-9).

    Raises:
        MalformedCertificate: no 64-bit number.
    """
    if not 0 <= bits < 2**64:
        raise MalformedCertificate("bits of a binary64", expected="below 2**64", actual=bits)
    return repr(bits_to_float(bits))


def build_document(identifier: bytes, record: Record) -> Document:
    """Return a record as part of a predicate."""
    return Document(identifier.hex(), encode_base64(encode(record)), render(record))


def open_document(document: Document, kind: type[RecordT]) -> RecordT:
    """Return the record of a document; its id and its rendering are not compared here.

    Raises:
        NewerFormat: the record has a later version.
        MalformedEvidence: the bytes are not canonical.
    """
    data = decode_base64(document.bytes)
    readable = document.readable
    if isinstance(readable, dict) and str(readable.get("version", "0")) != "0":
        raise NewerFormat(f"{kind.__name__} has a newer format", expected=0, actual=str(readable["version"])[:20])
    return decode(data, kind)
