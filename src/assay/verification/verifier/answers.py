"""From findings to the transactions of a verifier: commitments, abstentions, reveals.

Every vote is in the journal before anything is sent, and comes from there whenever it is needed again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from assay.protocol.contracts.submission_bodies import (
    AbstainVotes,
    CommitVotes,
    IntervalCommitment,
    IntervalOpening,
    RevealVotes,
)
from assay.protocol.contracts.submission_records import Submission
from assay.protocol.evidence.bundle import Checkpoint, open_checkpoint
from assay.protocol.evidence.votes import NOT_RECOMPUTED, Vote, compute_vote_commitment
from assay.protocol.hashing import ZERO
from assay.storage.vote_journal import Question, VoteJournal
from assay.verification.verifier.duties import Duty
from assay.verification.verifier.judging import Finding
from assay.verification.verifier.ledger import SubmissionView


def get_claimed_start(submission: Submission, checkpoints: Sequence[Checkpoint], number: int) -> bytes:
    """Return the root where a vote begins: the claimed state before an interval, zeros for the two checks (SUB-21)."""
    return checkpoints[number].state_root if number < submission.intervals else ZERO


def make_vote(number: int, finding: Finding, start_root: bytes) -> Vote:
    """Return the vote that states a finding, with a fresh salt."""
    return Vote(
        interval=number,
        outcome=finding.outcome,
        start_root=start_root,
        end_root=finding.end_root,
        leaves=finding.leaves,
        work_digest=finding.work_digest,
        known_answer=finding.known_answer,
        replays=finding.replays,
        salt=secrets.token_bytes(32),
    )


def list_questions(view: SubmissionView, duty: Duty, own: Sequence[int]) -> list[Question]:
    """Return what a duty asks, the verifier's own intervals last, in the order of their draw."""
    asked = [Question(view.identity, duty.round, number, False) for number in duty.assigned]
    return asked + [Question(view.identity, 0, number, True) for number in own]


def keep_findings(
    journal: VoteJournal,
    questions: Sequence[Question],
    findings: Mapping[int, Finding],
    get_start: Callable[[int], bytes],
) -> dict[Question, str]:
    """Write a vote for every question that has an answer; return those without, and the reason to abstain."""
    abstained = {}
    for question in questions:
        finding = findings.get(question.interval)
        if finding is None or finding.abstention:
            abstained[question] = finding.abstention if finding is not None else "stopped"
        elif journal.get_vote(question) is None:
            start_root = get_start(question.interval) if finding.is_recomputed else ZERO
            journal.keep_vote(question, make_vote(question.interval, finding, start_root))
    return abstained


def build_commit(
    journal: VoteJournal, chain_id: bytes, account: bytes, view: SubmissionView, duty: Duty, own: Sequence[int]
) -> CommitVotes | None:
    """Return the commitments to all votes of a duty that are in the journal, or None if there are none."""

    def commit(question: Question) -> bytes | None:
        vote = journal.get_vote(question)
        if vote is None:
            return None
        return compute_vote_commitment(chain_id, view.identity, question.round, account, vote)

    questions = list_questions(view, duty, own)
    assigned = [(q.interval, commit(q)) for q in questions if not q.is_private]
    private = [commit(q) for q in questions if q.is_private]
    given = tuple(IntervalCommitment(number, digest) for number, digest in assigned if digest is not None)
    complete = tuple(digest for digest in private if digest is not None)
    if len(complete) != len(own):  # own intervals are committed to together or not at all
        complete = ()
    return CommitVotes(view.identity, duty.round, given, complete) if given or complete else None


def build_abstentions(view: SubmissionView, duty: Duty, abstained: Mapping[Question, str]) -> list[AbstainVotes]:
    """Return one abstention for each reason."""
    reasons: dict[str, list[Question]] = {}
    for question, reason in abstained.items():
        reasons.setdefault(reason, []).append(question)
    return [
        AbstainVotes(
            submission=view.identity,
            round=duty.round,
            intervals=tuple(sorted(question.interval for question in questions if not question.is_private)),
            reason=reason,
            private=any(question.is_private for question in questions),
        )
        for reason, questions in sorted(reasons.items())
    ]


def build_reveal(
    journal: VoteJournal,
    read_checkpoints: Callable[[], Sequence[Checkpoint]],
    view: SubmissionView,
    duty: Duty,
    own: Sequence[int],
) -> RevealVotes | None:
    """Return the opened votes of a duty with what was claimed about their intervals, or None if there are none.

    The checkpoints are read only if a vote needs them: who votes that blobs are withheld has none (SUB-22).
    """
    questions = list_questions(view, duty, own)
    votes = {question: journal.get_vote(question) for question in questions}
    assigned = tuple(vote for question, vote in votes.items() if vote is not None and not question.is_private)
    private = tuple(vote for question, vote in votes.items() if vote is not None and question.is_private)
    secret = journal.get_secret(view.identity) if own else None
    if not assigned and secret is None:
        return None
    opened = {judgement.interval for judgement in view.judgements if judgement.end_root}
    shown = {
        vote.interval
        for vote in (*assigned, *private)
        if vote.interval < view.submission.intervals and vote.outcome not in NOT_RECOMPUTED
    }
    missing = sorted(shown - opened)
    checkpoints = read_checkpoints() if missing else ()
    return RevealVotes(
        submission=view.identity,
        round=duty.round,
        votes=assigned,
        secret=secret or b"",
        private=private if secret is not None else (),
        openings=tuple(open_interval(checkpoints, number) for number in missing),
    )


def open_interval(checkpoints: Sequence[Checkpoint], number: int) -> IntervalOpening:
    """Return the two checkpoints of an interval with their paths."""
    return IntervalOpening(number, open_checkpoint(checkpoints, number), open_checkpoint(checkpoints, number + 1))
