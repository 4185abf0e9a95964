"""Where the contract `submissions` keeps its records.

Source: `spec/submissions.md`, SUB-1.
"""

from __future__ import annotations

from typing import Final

from assay.protocol import tags
from assay.protocol.hashing import tag_bytes

_PREFIX: Final = tag_bytes(tags.SUBMISSIONS_CONTRACT)

COUNT_KEY: Final = _PREFIX + b"count"
"""→ Counter: how many submissions there are."""


def number_key(number: int) -> bytes:
    """→ Reference: the submission with this number, counted from 0."""
    return _PREFIX + b"number/" + number.to_bytes(8, "big")


def submission_key(submission: bytes) -> bytes:
    """→ Submission: what was submitted."""
    return _PREFIX + b"submission/" + submission


def status_key(submission: bytes) -> bytes:
    """→ SubmissionStatus: how far it has come."""
    return _PREFIX + b"status/" + submission


def draw_key(submission: bytes) -> bytes:
    """→ Draw: who judges, and which intervals were drawn."""
    return _PREFIX + b"draw/" + submission


def judged_key(submission: bytes) -> bytes:
    """→ IntervalList: what its sub-quorums judge."""
    return _PREFIX + b"judged/" + submission


def judgement_key(submission: bytes, interval: int) -> bytes:
    """→ IntervalJudgement: one interval, or check, that a sub-quorum judges."""
    return _PREFIX + b"judgement/" + submission + interval.to_bytes(8, "big")


def vote_key(submission: bytes, interval: int, account: bytes) -> bytes:
    """→ VoteRecord: what one verifier did about one interval."""
    return _PREFIX + b"vote/" + submission + interval.to_bytes(8, "big") + account


def private_key(submission: bytes, account: bytes) -> bytes:
    """→ PrivateVotes: a verifier's own intervals."""
    return _PREFIX + b"private/" + submission + account


def attestation_key(submission: bytes, account: bytes) -> bytes:
    """→ Attestation of one verifier."""
    return _PREFIX + b"attestation/" + submission + account


def attesters_key(submission: bytes) -> bytes:
    """→ AccountList: who attested availability."""
    return _PREFIX + b"attesters/" + submission


def flags_key(submission: bytes, account: bytes) -> bytes:
    """→ IntervalList: what one verifier flagged."""
    return _PREFIX + b"flags/" + submission + account


def flagged_key(submission: bytes) -> bytes:
    """→ IntervalList: everything that was flagged, ascending."""
    return _PREFIX + b"flagged/" + submission


def equivocation_key(submission: bytes, account: bytes) -> bytes:
    """→ Reference: an account whose equivocation about this submission was proven."""
    return _PREFIX + b"equivocation/" + submission + account


def payments_key(submission: bytes) -> bytes:
    """→ PaymentList: everything that moved because of it."""
    return _PREFIX + b"payments/" + submission


def due_key(height: int) -> bytes:
    """→ DueList: submissions whose phase ends with this block."""
    return _PREFIX + b"due/" + height.to_bytes(8, "big")


def attempts_key(plan: bytes) -> bytes:
    """→ Attempts: how often a plan was submitted."""
    return _PREFIX + b"attempts/" + plan


def model_key(model_root: bytes) -> bytes:
    """→ Reference: the first submission with this model root."""
    return _PREFIX + b"model/" + model_root
