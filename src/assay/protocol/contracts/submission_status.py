"""Reading and changing the status of a submission: what every part of the contract `submissions` does.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from assay.protocol.contracts.stakes import get_snapshot
from assay.protocol.contracts.submission_keys import due_key, payments_key, status_key, submission_key
from assay.protocol.contracts.submission_records import (
    DueList,
    Payment,
    PaymentList,
    Submission,
    SubmissionStatus,
)
from assay.protocol.contracts.submission_rejections import (
    CommitmentMalformed,
    FlagRefused,
    SubmissionUnknown,
    WrongPhase,
)
from assay.protocol.environment import Notice
from assay.protocol.evidence.draw import Seat
from assay.protocol.state_view import StateView


def get_submission(view: StateView, identity: bytes) -> Submission:
    """Return what was submitted.

    Raises:
        SubmissionUnknown: there is no such submission.
    """
    found = view.read(submission_key(identity), Submission)
    if found is None:
        raise SubmissionUnknown("there is no such submission", actual=identity.hex()[:64])
    return found


def get_eligible(view: StateView, snapshot_height: int, submitter: bytes) -> tuple[Seat, ...]:
    """Return who can judge a run of this submitter: all verifiers of the snapshot but itself (DRW-3)."""
    return tuple(seat for seat in get_snapshot(view, snapshot_height) if seat.account != submitter)


def find_seat(seats: tuple[Seat, ...], account: bytes) -> Seat | None:
    """Return the seat of an account among seats that are sorted by account."""
    place = bisect_left(seats, account, key=lambda seat: seat.account)
    return seats[place] if place < len(seats) and seats[place].account == account else None


def expect_phase(view: StateView, identity: bytes, phase: str) -> SubmissionStatus:
    """Return the status of a submission that must be in a phase.

    Raises:
        WrongPhase: it is in another one.
    """
    status = view.expect(status_key(identity), SubmissionStatus)
    if status.phase != phase:
        raise WrongPhase("the submission is in another phase", expected=phase, actual=status.phase)
    return status


def verify_ascending(numbers: tuple[int, ...], what: str, refusal: type[FlagRefused | CommitmentMalformed]) -> None:
    """Check that numbers go up, none twice."""
    if any(numbers[i - 1] >= numbers[i] for i in range(1, len(numbers))):
        raise refusal(f"{what} are not in ascending order")


def replace_status(status: SubmissionStatus, **changes: object) -> SubmissionStatus:
    """Return a status with some fields changed."""
    return msgspec.structs.replace(status, **changes)


def set_status(view: StateView, status: SubmissionStatus) -> None:
    """Write a status, tell of a new phase or round, and see to it that the deadline is kept."""
    key = status_key(status.submission)
    before = view.read(key, SubmissionStatus)
    if before is None or (before.phase, before.round) != (status.phase, status.round):
        view.tell(Notice("phase", status.submission, status.phase, amount=status.round))
    view.write(key, status)
    if status.deadline:
        key = due_key(status.deadline)
        due = view.read(key, DueList) or DueList(())
        if status.submission not in due.submissions:
            view.write(key, DueList((*due.submissions, status.submission)))


def record_payment(view: StateView, identity: bytes, account: bytes, kind: str, amount: int) -> None:
    """Note that points moved because of a submission (SUB-30)."""
    if amount:
        found = view.read(payments_key(identity), PaymentList) or PaymentList(())
        view.write(payments_key(identity), PaymentList((*found.payments, Payment(account, kind, amount))))
        view.tell(Notice("payment", identity, kind, account, amount))
