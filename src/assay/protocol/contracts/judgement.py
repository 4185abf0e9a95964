"""What the votes about one interval say: a pure count over assigned stake.

Source: `spec/submissions.md`, SUB-24 to SUB-26.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.protocol.contracts.submission_records import ACCEPTED, REJECTED, UNDECIDED, Answer
from assay.protocol.evidence.draw import Seat
from assay.protocol.evidence.votes import MATCHES, Vote

NEEDED, OF = 2, 3
"""The share of the assigned stake that decides: at least two thirds."""


def get_answer(vote: Vote) -> Answer:
    """Return what a vote agrees on with others: outcome, end root and leaves (SUB-24)."""
    return Answer(vote.outcome, vote.end_root, vote.leaves.root)


def count_votes(seats: Sequence[Seat], votes: Sequence[Vote | None]) -> dict[Answer, int]:
    """Return the stake behind each answer.

    Args:
        seats: everybody who is assigned.
        votes: one for each seat; None: absent, abstained, not revealed, or found equivocating.
    """
    stakes: dict[Answer, int] = {}
    for seat, vote in zip(seats, votes, strict=True):
        if vote is not None:
            answer = get_answer(vote)
            stakes[answer] = stakes.get(answer, 0) + seat.stake
    return stakes


def is_decisive(stake: int, assigned: int) -> bool:
    """Return whether this much of the assigned stake decides: at least two thirds of it (SUB-25)."""
    return assigned > 0 and OF * stake >= NEEDED * assigned


def judge(seats: Sequence[Seat], votes: Sequence[Vote | None]) -> tuple[str, int, int, Answer | None]:
    """Return the finding about one interval (SUB-25, SUB-26).

    Returns:
        Finding; stake for the claim (behind the strongest answer that matches it); stake behind the strongest other
        answer; the answer that decided, or None.
    """
    assigned = sum(seat.stake for seat in seats)
    stakes = count_votes(seats, votes)
    for_claim = max((stake for answer, stake in stakes.items() if answer.outcome == MATCHES), default=0)
    against = max((stake for answer, stake in stakes.items() if answer.outcome != MATCHES), default=0)
    for answer, stake in stakes.items():
        if is_decisive(stake, assigned):
            return (ACCEPTED if answer.outcome == MATCHES else REJECTED), for_claim, against, answer
    return UNDECIDED, for_claim, against, None
