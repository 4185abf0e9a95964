"""A ledger as a verifier needs it, and what it reads there about one submission.

The verifier stands in the computation column and never meets an engine: whoever starts it hands in what implements
`Ledger`. Reads are proven by the implementation; a value that comes from here is in the ledger state of some block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from assay.errors import MalformedEvidence, UsageError
from assay.protocol.contracts.stake_records import Snapshot
from assay.protocol.contracts.stakes import snapshot_key
from assay.protocol.contracts.submission_keys import (
    COUNT_KEY,
    attestation_key,
    draw_key,
    flagged_key,
    flags_key,
    judged_key,
    judgement_key,
    number_key,
    payments_key,
    private_key,
    status_key,
    submission_key,
    vote_key,
)
from assay.protocol.contracts.submission_records import (
    Attestation,
    Counter,
    IntervalJudgement,
    IntervalList,
    PaymentList,
    PrivateVotes,
    Reference,
    Submission,
    SubmissionStatus,
    VoteRecord,
)
from assay.protocol.encoding import RecordT
from assay.protocol.evidence.draw import Draw
from assay.protocol.params import Parameters
from assay.protocol.transactions import Body

NO_INTERVALS = IntervalList(())


class SubmissionMissing(UsageError):
    """The ledger knows no such submission."""

    code: ClassVar[str] = "verifier.submission-missing"


class Ledger(Protocol):
    """What a verifier asks of a ledger. Every call may raise `NetworkError`; asking again is always right."""

    @property
    def chain_id(self) -> bytes:
        """Id of the genesis, 32 bytes."""
        ...

    @property
    def parameters(self) -> Parameters:
        """Of the genesis."""
        ...

    def get_height(self) -> int:
        """Return the height of the newest block that is known to hold."""
        ...

    def read(self, key: bytes, kind: type[RecordT]) -> RecordT | None:
        """Return a proven record of the ledger state, or None: it is proven to be absent."""
        ...

    def fetch(self, digest: bytes, length: int) -> bytes:
        """Return the chunk with this BLAKE3, of at most `length` bytes; whoever asks checks it."""
        ...

    def send(self, body: Body) -> str:
        """Sign a transaction with the verifier's account, send it, and wait until it stands in a block.

        Returns:
            Empty, or the code of the refusal.
        """
        ...

    def wait(self, seconds: float) -> None:
        """Return when there may be something new, or after `seconds`."""
        ...


def count_submissions(ledger: Ledger) -> int:
    """Return how many submissions the ledger has."""
    found = ledger.read(COUNT_KEY, Counter)
    return 0 if found is None else found.count


def find_submission(ledger: Ledger, number: int) -> bytes:
    """Return the id of the submission with a number, counted from 0."""
    found = ledger.read(number_key(number), Reference)
    if found is None:
        raise SubmissionMissing("there is no submission with this number", actual=number)
    return found.submission


@dataclass(frozen=True)
class SubmissionView:
    """A submission as one verifier sees it.

    Attributes:
        submission: what was submitted.
        status: how far it has come.
        draw: None: not drawn yet.
        judgements: what sub-quorums judge, ascending by interval.
        attestation: this verifier's, or None.
        flagged: whether this verifier flagged anything.
        taken: intervals that are judged without a further flag.
        votes: this verifier's, by interval.
        private: this verifier's own intervals, or None.
    """

    submission: Submission
    status: SubmissionStatus
    draw: Draw | None = None
    judgements: tuple[IntervalJudgement, ...] = ()
    attestation: Attestation | None = None
    flagged: bool = False
    taken: frozenset[int] = frozenset()
    votes: dict[int, VoteRecord] | None = None
    private: PrivateVotes | None = None

    @property
    def identity(self) -> bytes:
        """Id of the submission."""
        return self.submission.submission


def read_status(ledger: Ledger, identity: bytes) -> SubmissionStatus:
    """Return how far a submission has come.

    Raises:
        SubmissionMissing: there is none.
    """
    found = ledger.read(status_key(identity), SubmissionStatus)
    if found is None:
        raise SubmissionMissing("the ledger knows no such submission", actual=identity.hex()[:64])
    return found


def read_view(ledger: Ledger, identity: bytes, account: bytes) -> SubmissionView:
    """Return a submission as an account sees it.

    The reads are of one block or of neighbouring ones; whatever is then sent is checked by the ledger again.

    Raises:
        SubmissionMissing: there is none.
        NetworkError: the ledger cannot be reached, or does not prove what it says.
    """
    submission = ledger.read(submission_key(identity), Submission)
    status = ledger.read(status_key(identity), SubmissionStatus)
    if submission is None or status is None:
        raise SubmissionMissing("the ledger knows no such submission", actual=identity.hex()[:64])
    attestation = ledger.read(attestation_key(identity, account), Attestation)
    if not status.draw:
        return SubmissionView(submission, status, attestation=attestation)
    draw = ledger.read(draw_key(identity), Draw)
    judged = (ledger.read(judged_key(identity), IntervalList) or NO_INTERVALS).intervals
    judgements = [_expect(ledger, judgement_key(identity, number), IntervalJudgement) for number in judged]
    mine = [j.interval for j in judgements if any(seat.account == account for seat in j.seats)]
    records = {number: ledger.read(vote_key(identity, number, account), VoteRecord) for number in mine}
    flagged = (ledger.read(flagged_key(identity), IntervalList) or NO_INTERVALS).intervals
    own_flags = (ledger.read(flags_key(identity, account), IntervalList) or NO_INTERVALS).intervals
    return SubmissionView(
        submission,
        status,
        draw,
        tuple(judgements),
        attestation,
        bool(own_flags),
        frozenset(flagged) | frozenset(draw.sample if draw else ()),
        {number: record for number, record in records.items() if record is not None},
        ledger.read(private_key(identity, account), PrivateVotes),
    )


def _expect(ledger: Ledger, key: bytes, kind: type[RecordT]) -> RecordT:
    found = ledger.read(key, kind)
    if found is None:
        raise MalformedEvidence(f"the ledger state lacks a {kind.__name__} that it refers to")
    return found


def is_eligible(ledger: Ledger, submission: Submission, account: bytes) -> bool:
    """Return whether an account may judge: a verifier of the snapshot, and not the submitter."""
    snapshot = ledger.read(snapshot_key(submission.snapshot_height), Snapshot)
    seats = snapshot.seats if snapshot is not None else ()
    return account != submission.account and any(seat.account == account for seat in seats)


def read_payments(ledger: Ledger, identity: bytes) -> PaymentList:
    """Return everything that moved because of a submission."""
    return ledger.read(payments_key(identity), PaymentList) or PaymentList(())
