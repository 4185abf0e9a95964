"""Who earned and lost what through a submission, and why: derived from proven records alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from assay.client.submissions import Judgement, SubmissionDetails
from assay.protocol.contracts.submission_records import ACCEPTED, REJECTED, VoteRecord
from assay.protocol.evidence.votes import DIFFERS, MALFORMED, MATCHES, WITHHELD

_GAINS: Final = {"reward", "bond-returned", "escrow-returned", "report-reward"}

_REASONS: Final = {
    "reward": "votes that agree with the finding",
    "bond-returned": "the bond came back",
    "escrow-returned": "what was set aside for votes and not needed came back",
    "bond-lost": "the run was rejected: the whole bond is burned",
    "absence": "neither committed nor abstained",
    "broken-reveal": "committed, and did not open the vote",
    "equivocation": "signed two different votes about one interval",
    "report-reward": "proved that another signed two different votes",
}

_OUTCOMES: Final = {
    MATCHES: "matches",
    DIFFERS: "differs",
    WITHHELD: "a blob is missing",
    MALFORMED: "the data are malformed",
}


@dataclass(frozen=True)
class Entry:
    """Points that one account gained (above 0) or lost (below 0), and why."""

    points: int
    kind: str
    reason: str


@dataclass
class AccountStory:
    """What one account did in a submission and what came of it.

    Attributes:
        account: its key.
        roles: such as "submitter", "verifier", "attested".
        entries: points, in the order in which they moved.
        deeds: sentences about its votes.
    """

    account: bytes
    roles: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    deeds: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Points gained less points lost."""
        return sum(entry.points for entry in self.entries)


def explain(details: SubmissionDetails) -> list[AccountStory]:
    """Return the story of each account that had to do with a submission, the submitter first."""
    stories: dict[bytes, AccountStory] = {}

    def story(account: bytes) -> AccountStory:
        return stories.setdefault(account, AccountStory(account))

    story(details.facts.submission.account).roles.append("submitter")
    for account in details.attesters:
        story(account).roles.append("attested the blobs")
    for seat in () if details.draw is None else details.draw.quorum:
        story(seat.account).roles.append("drawn verifier")
    for each in details.judgements:
        for account, deed in _tell_judgement(each):
            story(account).deeds.append(deed)
    for private in details.private:
        opened = f"opened: {len(private.votes)} votes" if private.secret else "not opened"
        story(private.account).deeds.append(f"own intervals: {len(private.commitments)} committed, {opened}")
    for payment in details.payments:
        points = payment.amount if payment.kind in _GAINS else -payment.amount
        story(payment.account).entries.append(Entry(points, payment.kind, _REASONS.get(payment.kind, payment.kind)))
    return list(stories.values())


def _tell_judgement(each: Judgement) -> Iterator[tuple[bytes, str]]:
    judgement, votes = each.judgement, {vote.account: vote for vote in each.votes}
    for seat in judgement.seats:
        yield seat.account, f"interval {judgement.interval}: {_tell_vote(votes.get(seat.account), each)}"


def _tell_vote(record: VoteRecord | None, each: Judgement) -> str:
    if record is None:
        return "did nothing yet, or nothing at all"
    if record.abstention:
        return f"abstained ({record.abstention})"
    if record.vote is None:
        return "committed, not opened"
    said = _OUTCOMES.get(record.vote.outcome, f"outcome {record.vote.outcome}")
    finding = each.judgement.finding
    if finding not in {ACCEPTED, REJECTED}:
        return f"voted: {said}"
    agreed = (record.vote.outcome == MATCHES) == (finding == ACCEPTED)
    return f"voted: {said}; the finding is {finding}, {'as it said' if agreed else 'against its vote'}"
