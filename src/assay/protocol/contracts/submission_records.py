"""What the contract `submissions` keeps.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

from typing import Final

from assay.protocol.contracts.submission_bodies import SubmitRun
from assay.protocol.encoding import Record
from assay.protocol.evidence.draw import Seat
from assay.protocol.evidence.votes import Vote
from assay.protocol.merkle import MerkleRoot

AVAILABILITY: Final = "availability"
"""Waits for verifiers who attest that the blobs can be fetched."""
DRAW: Final = "draw"
"""Waits for the beacon of the draw height, in each round."""
FLAGS: Final = "flags"
"""The quorum is drawn and may flag intervals."""
COMMIT: Final = "commit"
"""Sub-quorums recompute, and commit to their votes or abstain."""
REVEAL: Final = "reveal"
"""Votes and secrets are opened."""
WINDOW: Final = "window"
"""There is a verdict, which is not final yet."""
FINAL: Final = "final"
"""Everything is paid."""
WITHDRAWN: Final = "withdrawn"
"""Taken back by the submitter before availability."""

UNDECIDED, ACCEPTED, REJECTED, INCONCLUSIVE = "", "accepted", "rejected", "inconclusive"
"""Findings about an interval, and verdicts."""

UNIFORM: Final = "uniform"
"""Drawn from the beacon."""
CHECK: Final = "check"
"""The start or the metrics."""
FLAGGED: Final = "flagged"
"""Asked for by a drawn verifier."""
ACCUSED: Final = "accused"
"""A verifier's own interval, in which it found another result."""


class Submission(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What was submitted, by whom and when; never changes. Its id is the context in leaf 0 of its transcript."""

    submission: bytes
    number: int  # counted from 0 on this ledger
    account: bytes
    height: int
    intervals: int
    snapshot_height: int
    earlier: bytes  # id of the first submission with this model root; 32 zero bytes: this one
    run: SubmitRun


class SubmissionStatus(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far a submission has come."""

    submission: bytes
    phase: str
    round: int
    deadline: int  # height at whose end the phase ends; 0: never
    eligible: int  # stake of all eligible verifiers
    attested: int  # stake of those who attested availability
    availability_height: int  # 0: not yet
    draw_height: int  # of the first round; 0: not yet
    later_draws: tuple[int, ...]  # heights of the draws of the second and third round, as far as there were any
    draw: bytes  # id of the draw; empty: not yet
    flags: int  # intervals that verifiers added
    acted: int  # in this round: assigned votes that were committed or abstained from; then, revealed
    expected: int  # in this round: assigned votes; then, committed ones
    verdict: str
    reason: str  # stable code of the verdict
    verdict_height: int
    final_height: int
    bond: int  # still held
    escrow: int  # still held
    votes: MerkleRoot  # all revealed votes; tag VOTES_TREE


class IntervalList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The numbers of all intervals and checks that a submission's sub-quorums judge, ascending."""

    intervals: tuple[int, ...]


class Answer(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What several votes can agree on."""

    outcome: int
    end_root: bytes
    leaves: bytes  # root over the leaves that the verifiers recomputed


class IntervalJudgement(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One interval, or check, that a sub-quorum judges."""

    interval: int
    origin: str
    round: int  # of the last draw for it
    seats: tuple[Seat, ...]  # all who were assigned so far
    start_root: bytes  # claimed; empty until somebody opened it
    end_root: bytes  # claimed; empty until somebody opened it
    finding: str
    for_claim: int  # stake that voted for the claimed root
    against: int  # stake behind the strongest other answer
    answer: Answer | None  # what the finding says; None: undecided


class VoteRecord(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one verifier did about one interval."""

    account: bytes
    interval: int
    round: int
    commitment: bytes  # empty: abstained
    abstention: str  # code; empty: committed
    vote: Vote | None  # None: not revealed


class PrivateVotes(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A verifier's own intervals: commitments, then what they hid."""

    account: bytes
    commitments: tuple[bytes, ...]
    secret: bytes  # empty: not opened
    votes: tuple[Vote, ...]


class Attestation(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A verifier says that it could fetch every blob, and commits to a secret."""

    account: bytes
    stake: int
    height: int
    secret_commitment: bytes


class AccountList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Accounts in the order in which they came."""

    accounts: tuple[bytes, ...]


class Attempts(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How often a plan was submitted, by anybody."""

    count: int


class Counter(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How many submissions this ledger has."""

    count: int


class Reference(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The id of a submission, under a key that leads to it."""

    submission: bytes


class DueList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Submissions with a deadline at one height, in the order in which they got it."""

    submissions: tuple[bytes, ...]


class Payment(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Points that one account got or lost through one submission, and why."""

    account: bytes
    kind: str  # "reward", "bond-returned", "escrow-returned", "bond-lost", "absence", "broken-reveal", "equivocation"
    amount: int


class PaymentList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything that moved because of one submission, in the order in which it moved."""

    payments: tuple[Payment, ...]
