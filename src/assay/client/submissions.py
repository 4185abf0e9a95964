"""Submissions as a client reads them: every record with its proof, nothing from the node's own lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from assay.client.node_client import NodeClient
from assay.errors import UsageError
from assay.protocol.contracts.submission_keys import (
    COUNT_KEY,
    attesters_key,
    draw_key,
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
    AccountList,
    Counter,
    IntervalJudgement,
    IntervalList,
    Payment,
    PaymentList,
    PrivateVotes,
    Reference,
    Submission,
    SubmissionStatus,
    VoteRecord,
)
from assay.protocol.evidence.draw import Draw

MAX_LISTED: Final = 1000
"""Submissions that one listing reads; each costs three proven reads."""


class SubmissionMissing(UsageError):
    """The ledger state has no submission with this id: that was proven."""

    code: ClassVar[str] = "client.submission-missing"


@dataclass(frozen=True)
class SubmissionFacts:
    """A submission and how far it has come.

    Attributes:
        submission: what was submitted; never changes.
        status: as of `height`.
        height: of the block whose header proves the status.
    """

    submission: Submission
    status: SubmissionStatus
    height: int


@dataclass(frozen=True)
class Judgement:
    """One judged interval, or check, with what every assigned verifier did about it."""

    judgement: IntervalJudgement
    votes: tuple[VoteRecord, ...]


@dataclass(frozen=True)
class SubmissionDetails:
    """Everything that the ledger state holds about a submission.

    Attributes:
        facts: the submission and its status.
        attesters: who attested that the blobs can be fetched.
        draw: who judges and which intervals were drawn; None: not yet.
        judgements: by interval.
        private: the verifiers' own intervals, as far as there are any.
        payments: what moved, in the order in which it moved.
    """

    facts: SubmissionFacts
    attesters: tuple[bytes, ...]
    draw: Draw | None
    judgements: tuple[Judgement, ...]
    private: tuple[PrivateVotes, ...]
    payments: tuple[Payment, ...]


def read_submission(client: NodeClient, identity: bytes) -> SubmissionFacts:
    """Return a submission and its status.

    Raises:
        SubmissionMissing: there is none with this id.
    """
    found = client.get_state(submission_key(identity), Submission)
    status = client.get_state(status_key(identity), SubmissionStatus)
    if found.value is None or status.value is None:
        raise SubmissionMissing("there is no submission with this id", actual=identity.hex())
    return SubmissionFacts(found.value, status.value, status.height)


def iterate_submissions(client: NodeClient, limit: int = MAX_LISTED) -> Iterator[SubmissionFacts]:
    """Yield submissions, the newest first, at most `limit`."""
    counter = client.get_state(COUNT_KEY, Counter).value
    count = 0 if counter is None else counter.count
    for number in range(count - 1, max(count - 1 - limit, -1), -1):
        reference = client.get_state(number_key(number), Reference).value
        if reference is not None:
            yield read_submission(client, reference.submission)


def read_details(client: NodeClient, identity: bytes) -> SubmissionDetails:
    """Return everything that the ledger state holds about a submission.

    Raises:
        SubmissionMissing: there is none with this id.
    """
    facts = read_submission(client, identity)
    attesters = client.get_state(attesters_key(identity), AccountList).value
    draw = client.get_state(draw_key(identity), Draw).value
    judged = client.get_state(judged_key(identity), IntervalList).value
    payments = client.get_state(payments_key(identity), PaymentList).value
    return SubmissionDetails(
        facts,
        () if attesters is None else attesters.accounts,
        draw,
        () if judged is None else tuple(_read_judgements(client, identity, judged.intervals)),
        () if draw is None else tuple(_read_private(client, identity, draw)),
        () if payments is None else payments.payments,
    )


def _read_judgements(client: NodeClient, identity: bytes, intervals: tuple[int, ...]) -> Iterator[Judgement]:
    for interval in intervals:
        judgement = client.get_state(judgement_key(identity, interval), IntervalJudgement).value
        if judgement is None:
            continue
        votes = []
        for seat in judgement.seats:
            vote = client.get_state(vote_key(identity, interval, seat.account), VoteRecord).value
            if vote is not None:
                votes.append(vote)
        yield Judgement(judgement, tuple(votes))


def _read_private(client: NodeClient, identity: bytes, draw: Draw) -> Iterator[PrivateVotes]:
    for seat in draw.quorum:
        found = client.get_state(private_key(identity, seat.account), PrivateVotes).value
        if found is not None:
            yield found
