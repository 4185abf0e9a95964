"""The transactions of the contract `submissions`.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

from assay.protocol.encoding import Record
from assay.protocol.evidence.bundle import CheckpointOpening
from assay.protocol.evidence.votes import Vote
from assay.protocol.merkle import MerkleRoot


class SubmitRun(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="submit-run"):
    """Commit to a recorded run, pay for its judgement and put up a bond. The blobs follow."""

    plan: bytes
    closing: bytes
    profile: bytes
    context_nonce: int  # chosen by the submitter; context = H(account, chain id, this)
    transcript: MerkleRoot
    transcript_path: tuple[bytes, ...]  # of leaf 0
    checkpoints: MerkleRoot  # tag CHECKPOINT_TREE
    first: CheckpointOpening  # the start
    last: CheckpointOpening  # the final state
    model_root: bytes
    rest_root: bytes  # state root of the end = H(model root, rest root)
    model_file: bytes  # SHA-256 of the canonical model file
    bundle: bytes  # BLAKE3 of the encoded bundle
    bundle_bytes: int  # of all blobs together
    steps: int
    interval_length: int
    start_check: bool  # the plan's start can be recomputed
    metrics: bytes  # digest of the closing record's evaluations; 32 zero bytes: none
    sample: int  # intervals drawn uniformly, the last one among them
    sub_quorum: int
    measure: int  # 0 absolute, 1 L2, 2 percent, 3 cosine: which weight analysis flags
    threshold_ppm: int  # its threshold c, in millionths
    bond: int
    reward: int  # for one vote
    retention: int  # height until which the blobs are kept
    attempt: int  # which submission of this plan it is, counted from 1


class WithdrawSubmission(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="withdraw-submission"):
    """Take a submission back, before it is available."""

    submission: bytes


class AttestAvailability(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="attest-availability"):
    """Say that every blob of a submission could be fetched, and commit to a secret."""

    submission: bytes
    secret_commitment: bytes


class FlagIntervals(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="flag-intervals"):
    """Ask for intervals to be judged beyond the sample; for drawn verifiers."""

    submission: bytes
    intervals: tuple[int, ...]  # ascending


class IntervalCommitment(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The commitment to the vote about one assigned interval."""

    interval: int
    commitment: bytes


class CommitVotes(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="commit-votes"):
    """Commit to votes about assigned intervals, and in round 0 about the verifier's own intervals."""

    submission: bytes
    round: int
    commitments: tuple[IntervalCommitment, ...]  # ascending by interval
    private: tuple[bytes, ...]  # one for each own interval, in their order; empty: none, or given before


class AbstainVotes(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="abstain-votes"):
    """Say before committing that one cannot judge; costs nothing."""

    submission: bytes
    round: int
    intervals: tuple[int, ...]  # ascending
    private: bool  # from the verifier's own intervals, too
    reason: str


class IntervalOpening(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The two checkpoints of an interval, which say what was claimed about it."""

    interval: int
    before: CheckpointOpening
    after: CheckpointOpening


class RevealVotes(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="reveal-votes"):
    """Open committed votes, and in round 0 the secret and the votes about the verifier's own intervals."""

    submission: bytes
    round: int
    votes: tuple[Vote, ...]  # ascending by interval
    secret: bytes  # empty: no private votes in this transaction
    private: tuple[Vote, ...]  # in the order of the commitments
    openings: tuple[IntervalOpening, ...]  # ascending; of each interval whose claim nobody opened before


class ReportEquivocation(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="report-equivocation"):
    """Prove that an account signed two different commitments for one interval and round."""

    first: bytes  # encoded signed transaction
    second: bytes
