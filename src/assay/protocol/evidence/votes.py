"""What a verifier commits to: its secret before the draw, its votes before anybody reveals.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

from typing import Final

from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.evidence.plan import Evaluation
from assay.protocol.hashing import compute_digest, compute_id
from assay.protocol.merkle import MerkleRoot

MATCHES, DIFFERS, WITHHELD, MALFORMED = range(4)
"""Outcomes of a vote. MATCHES and DIFFERS: the interval was recomputed. WITHHELD: its blobs could not be fetched.
MALFORMED: what was fetched breaks the rules of its format, or is not what the submission says."""

NOT_RECOMPUTED: Final = frozenset({WITHHELD, MALFORMED})
"""Outcomes of votes that recomputed nothing; their roots are zeros."""

START_CHECK, METRICS_CHECK = 0, 1
"""Numbers of the two checks that are no intervals: they follow the last interval."""

ABSTENTIONS: Final = ("profile", "resources", "conflict", "stopped")
"""Why a verifier abstains: its machine cannot judge this profile; has not the time or memory; it has an interest in
the result; it was asked to stop."""


class Vote(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one verifier found about one interval; what a reveal shows."""

    interval: int
    outcome: int
    start_root: bytes  # where the recomputation began; 32 zero bytes for WITHHELD and MALFORMED
    end_root: bytes  # what it gave; as above
    leaves: MerkleRoot  # ids of the verifier's own leaves of the interval; tag INTERVAL_LEAVES
    work_digest: bytes
    known_answer: bytes
    replays: int  # how often it was carried out; at least twice for DIFFERS
    salt: bytes


class VoteCommitment(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields behind a commitment."""

    chain_id: bytes
    submission: bytes
    interval: int
    round: int
    account: bytes
    outcome: int
    start_root: bytes
    end_root: bytes
    leaves: MerkleRoot
    work_digest: bytes
    known_answer: bytes
    replays: int
    salt: bytes


class EvaluationList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The evaluations of a closing record, in its order."""

    evaluations: tuple[Evaluation, ...]


def compute_vote_commitment(chain_id: bytes, submission: bytes, voting_round: int, account: bytes, vote: Vote) -> bytes:
    """Return the 32 bytes that commit an account to a vote."""
    commitment = VoteCommitment(
        chain_id=chain_id,
        submission=submission,
        interval=vote.interval,
        round=voting_round,
        account=account,
        outcome=vote.outcome,
        start_root=vote.start_root,
        end_root=vote.end_root,
        leaves=vote.leaves,
        work_digest=vote.work_digest,
        known_answer=vote.known_answer,
        replays=vote.replays,
        salt=vote.salt,
    )
    return compute_id(tags.VOTE_COMMITMENT, commitment)


def compute_secret_commitment(chain_id: bytes, submission: bytes, account: bytes, secret: bytes) -> bytes:
    """Return the 32 bytes that commit an account to its 32-byte secret for one submission."""
    return compute_digest(tags.SECRET_COMMITMENT, chain_id + submission + account + secret)


def compute_work_key(draw: bytes, account: bytes) -> bytes:
    """Return the 32-byte key of BLAKE3 for a verifier's work digest; `draw` is the id of the draw."""
    return compute_digest(tags.WORK_KEY, draw + account)


def compute_metrics_digest(evaluations: tuple[Evaluation, ...]) -> bytes:
    """Return the digest that the check of the metrics compares."""
    return compute_id(tags.METRICS, EvaluationList(evaluations))
