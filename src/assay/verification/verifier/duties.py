"""What is due: a function of what the ledger says and of nothing else, so that a verifier that was killed goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from assay.protocol.contracts.submission_records import (
    AVAILABILITY,
    COMMIT,
    DRAW,
    FINAL,
    FLAGS,
    REVEAL,
    UNDECIDED,
    WITHDRAWN,
    SubmissionStatus,
    VoteRecord,
)
from assay.protocol.evidence.draw import compute_draw_id, select_private
from assay.verification.verifier.ledger import SubmissionView

ATTEST: Final = "attest"
FETCH: Final = "fetch"
FLAG: Final = "flag"
VOTE: Final = "vote"
OPEN: Final = "open"


@dataclass(frozen=True)
class Duty:
    """What a verifier owes a submission now.

    Attributes:
        kind: ATTEST: fetch everything and say so. FETCH: fetch everything, since blobs may be gone when they are
            needed. FLAG: analyse the weights. VOTE: recompute and commit. OPEN: reveal.
        round: of the votes.
        assigned: intervals that a sub-quorum with this verifier judges, ascending.
        private: whether the verifier's own intervals are due too.
    """

    kind: str
    round: int = 0
    assigned: tuple[int, ...] = ()
    private: bool = False


def is_over(status: SubmissionStatus) -> bool:
    """Return whether nothing can become due any more."""
    return status.phase in {FINAL, WITHDRAWN}


def find_duty(view: SubmissionView, account: bytes) -> Duty | None:
    """Return what is due now, or None.

    Args:
        view: of this account.
        account: public key, 32 bytes.
    """
    phase = view.status.phase
    if phase == AVAILABILITY:
        return None if view.attestation is not None else Duty(ATTEST)
    if phase == DRAW and view.status.round == 0:
        return Duty(FETCH)
    if phase == FLAGS:
        return Duty(FLAG) if is_in_quorum(view, account) and not view.flagged else Duty(FETCH)
    if phase == COMMIT:
        return _find_votes(view, account)
    if phase == REVEAL:
        return _find_openings(view)
    return None


def is_in_quorum(view: SubmissionView, account: bytes) -> bool:
    """Return whether an account was drawn."""
    return view.draw is not None and any(seat.account == account for seat in view.draw.quorum)


def _find_votes(view: SubmissionView, account: bytes) -> Duty | None:
    due = tuple(
        judgement.interval
        for judgement in view.judgements
        if judgement.finding == UNDECIDED
        and any(seat.account == account for seat in judgement.seats)
        and not _is_answered(view, judgement.interval)
    )
    has_own = view.status.round == 0 and view.attestation is not None and is_in_quorum(view, account)
    private = has_own and view.private is None
    return Duty(VOTE, view.status.round, due, private) if due or private else None


def _is_answered(view: SubmissionView, interval: int) -> bool:
    record = (view.votes or {}).get(interval)
    return record is not None and (record.round == view.status.round or record.vote is not None)


def _find_openings(view: SubmissionView) -> Duty | None:
    due = tuple(number for number, record in sorted((view.votes or {}).items()) if _is_hidden(view, record))
    private = view.private is not None and bool(view.private.commitments) and not view.private.secret
    own = private and view.status.round == 0
    return Duty(OPEN, view.status.round, due, own) if due or own else None


def _is_hidden(view: SubmissionView, record: VoteRecord) -> bool:
    return record.round == view.status.round and bool(record.commitment) and record.vote is None


def select_own(view: SubmissionView, secret: bytes, count: int) -> tuple[int, ...]:
    """Return this verifier's own intervals, in the order of their draw.

    Args:
        view: of a drawn submission.
        secret: that was committed before the draw.
        count: the parameter of the ledger.
    """
    if view.draw is None:
        return ()
    return select_private(compute_draw_id(view.draw.facts), secret, view.submission.intervals, count)
