"""Contract `submissions`, the end: who is paid, what returns, what is burned.

Source: `spec/submissions.md`, SUB-30.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

from assay.protocol import tags
from assay.protocol.contracts.accounts import burn, credit
from assay.protocol.contracts.judgement import get_answer
from assay.protocol.contracts.submission_keys import draw_key, equivocation_key, private_key, vote_key
from assay.protocol.contracts.submission_records import (
    ACCEPTED,
    FINAL,
    REJECTED,
    IntervalJudgement,
    PrivateVotes,
    Reference,
    Submission,
    SubmissionStatus,
    VoteRecord,
)
from assay.protocol.contracts.submission_status import record_payment, replace_status, set_status
from assay.protocol.encoding import Record, encode
from assay.protocol.environment import Environment
from assay.protocol.evidence.draw import Draw
from assay.protocol.evidence.votes import MATCHES
from assay.protocol.merkle import MerkleRoot, compute_data_root
from assay.protocol.state_view import StateView


def settle(
    view: StateView,
    environment: Environment,
    submission: Submission,
    status: SubmissionStatus,
    judgements: Sequence[IntervalJudgement],
) -> None:
    """Pay each vote that agrees with the finding, return the rest, burn a lost bond, and close (SUB-30)."""
    identity, submitter = submission.submission, submission.account
    records = list(_list_votes(view, identity, judgements))
    private = list(_list_private(view, identity))
    winners = Counter(_find_winners(view, identity, judgements, records, private))
    reward = min(submission.run.reward, status.escrow // winners.total()) if winners else 0
    for account, votes_paid in winners.items():
        credit(view, account, reward * votes_paid)
        record_payment(view, identity, account, "reward", reward * votes_paid)
    rest = status.escrow - reward * winners.total()
    credit(view, submitter, rest)
    record_payment(view, identity, submitter, "escrow-returned", rest)
    if status.verdict == REJECTED:
        burn(view, status.bond)
        record_payment(view, identity, submitter, "bond-lost", status.bond)
    else:
        credit(view, submitter, status.bond)
        record_payment(view, identity, submitter, "bond-returned", status.bond)
    leaves = [encode(record) for record in chain[Record](records, private)]
    votes = MerkleRoot(tags.VOTES_TREE, len(leaves), compute_data_root(tags.VOTES_TREE, leaves))
    final = replace_status(
        status, phase=FINAL, deadline=0, final_height=environment.height, bond=0, escrow=0, votes=votes
    )
    set_status(view, final)


def _list_votes(view: StateView, identity: bytes, judgements: Sequence[IntervalJudgement]) -> Iterator[VoteRecord]:
    """Yield every revealed vote of the sub-quorums, by interval, then in the order of the seats."""
    for judgement in judgements:
        for seat in judgement.seats:
            record = view.read(vote_key(identity, judgement.interval, seat.account), VoteRecord)
            if record is not None and record.vote is not None:
                yield record


def _list_private(view: StateView, identity: bytes) -> Iterator[PrivateVotes]:
    """Yield every opened set of private votes, in the order of the quorum."""
    draw = view.read(draw_key(identity), Draw)
    for seat in () if draw is None else draw.quorum:
        record = view.read(private_key(identity, seat.account), PrivateVotes)
        if record is not None and record.secret:
            yield record


def _find_winners(
    view: StateView,
    identity: bytes,
    judgements: Sequence[IntervalJudgement],
    records: Sequence[VoteRecord],
    private: Sequence[PrivateVotes],
) -> Iterator[bytes]:
    """Yield an account for each of its votes that is paid: those that agree with a finding.

    A private vote about an interval that nobody else judged is paid if it matches the claim.
    """
    answers = {each.interval: each.answer for each in judgements if each.finding in {ACCEPTED, REJECTED}}
    open_intervals = frozenset(each.interval for each in judgements if each.interval not in answers)
    pairs = [(record.account, record.vote) for record in records]
    pairs += [(record.account, vote) for record in private for vote in record.votes if vote.interval in answers]
    alone = [
        (record.account, vote)
        for record in private
        for vote in record.votes
        if vote.interval not in answers and vote.interval not in open_intervals
    ]
    proven: dict[bytes, bool] = {}
    for account in dict.fromkeys([account for account, _ in pairs + alone]):
        proven[account] = view.read(equivocation_key(identity, account), Reference) is not None
    for account, vote in pairs:
        if vote is not None and not proven[account] and get_answer(vote) == answers.get(vote.interval):
            yield account
    for account, vote in alone:
        if vote is not None and not proven[account] and vote.outcome == MATCHES:
            yield account
