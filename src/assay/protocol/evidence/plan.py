"""What is fixed before the first step (plan) and what is known at the end (closing record).

Source: `spec/plan.md`.
"""

from __future__ import annotations

from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.hashing import compute_id
from assay.protocol.merkle import MerkleRoot

VERSION = 0


class Setting(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A named value of a profile; printable ASCII."""

    name: str
    value: str


class Profile(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How arithmetic is done: `pinned` names a framework build, a device, threads and flags.

    The same bits are promised on like machines only.
    """

    version: int
    kind: str  # "pinned"
    settings: tuple[Setting, ...]  # sorted by name, unique


class InitialisedStart(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="initialised"):
    """The start is the result of an initialiser program under the plan's seed."""

    program: bytes


class CertifiedStart(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="certified"):
    """The start is the model of a parent certificate."""

    certificate: bytes  # SHA-256 of the certificate's canonical bytes
    model_root: bytes


class DeclaredStart(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="declared"):
    """The start is merely declared: nothing is proven about where it came from."""

    state_root: bytes


Start = InitialisedStart | CertifiedStart | DeclaredStart


class DataSet(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A committed data set."""

    leaves: MerkleRoot  # tag DATA_TREE, size = number of samples
    schema: bytes  # digest of the canonical schema
    canonicalisation: int  # version
    salted: bool


class Limits(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one step may cost whoever replays it."""

    flops: int
    peak_bytes: int


class Plan(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is fixed before the first step. No account, chain id or nonce: those are in the context."""

    version: int
    start: Start
    data: DataSet
    order_version: int  # 0: sequential; 1: shuffle
    seed: bytes  # 32 bytes
    seed_origin: str  # "submitter" or "beacon:<height>"
    key_derivation: int
    intended_steps: int  # 0: not known
    batch_size: int
    last_batch: str  # "keep" or "drop"
    collate: str  # of `collation`: "default", "pad:…", or "stored"
    interval_length: int
    root_period: int
    profile: bytes
    limits: Limits
    programs: tuple[bytes, ...]


class ProgramUse(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A program that a run used."""

    program: bytes
    first_step: int  # 0 for an initialiser or an inference program
    known_answer: bytes  # 32 bytes; zeros: none


class Metric(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One value of the closed list; a count or an exactly summed real, as bits of a binary64."""

    name: str
    value: int  # bits of the binary64
    count: int  # denominator


class Evaluation(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An inference program applied to a committed test set."""

    step: int
    program: bytes
    data: DataSet
    batch_size: int
    metrics: tuple[Metric, ...]


class ClosingRecord(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is known at the end of a run."""

    version: int
    plan: bytes
    steps: int
    transcript: MerkleRoot
    programs: tuple[ProgramUse, ...]
    scalars: MerkleRoot  # over the rows' digests
    evaluations: tuple[Evaluation, ...]
    events: MerkleRoot
    final_state: bytes
    model_root: bytes
    reason: str  # "completed" | "early-stop" | "interrupted"


def compute_profile_id(profile: Profile) -> bytes:
    """Return the id that a plan names its profile by (PLN-1)."""
    return compute_id(tags.PROFILE, profile)


def compute_plan_id(plan: Plan) -> bytes:
    """Return the id of a plan (PLN-1)."""
    return compute_id(tags.PLAN, plan)


def compute_closing_id(closing: ClosingRecord) -> bytes:
    """Return the id of a closing record (PLN-1)."""
    return compute_id(tags.CLOSING_RECORD, closing)
