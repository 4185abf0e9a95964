"""The parameters of a ledger: fixed in its genesis, the same for everybody, never changed.

Windows are counted in blocks, shares in parts per million, amounts in points.

Source: `spec/blocks.md`, BLK-3 and BLK-4.
"""

from __future__ import annotations

from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.amounts import MAX_AMOUNT, MILLION
from assay.protocol.encoding import Record
from assay.protocol.evidence.fields import verify_number, verify_version
from assay.protocol.evidence.selection import MAX_INTERVALS

MAX_WINDOW: Final = 2**31
"""Longest window, in blocks."""

MAX_VERIFIERS: Final = 4096
"""Most verifiers that a ledger can have: their list is one value of the ledger state."""

MIN_SUB_QUORUM: Final = 3
"""Smallest sub-quorum that parameters may permit; the default is 5."""

ROUNDS: Final = 3
"""Rounds of voting before a submission is inconclusive; the last one asks every eligible verifier."""


class WindowsRefused(MalformedEvidence):
    """Parameters under which stake could leave before the end of what it answers for, or that contradict each other."""

    code: ClassVar[str] = "parameters.windows"


class StakeParameters(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Rules of the contract `stakes`."""

    minimum_stake: int  # points bonded, below which nobody is a verifier
    max_verifiers: int
    snapshot_period: int  # blocks between two snapshots of the stakes
    snapshot_age: int  # a submission uses a snapshot that is at least so many blocks older than itself
    unbonding_blocks: int  # from a withdrawal to its payment, longer than any window
    max_unbondings: int  # withdrawals of one account that may wait at the same time
    absence_penalty: int  # points, for neither committing nor abstaining
    broken_reveal_ppm: int  # share of the stake lost by committing without a valid reveal
    equivocation_ppm: int  # share of the stake lost by two different signed votes
    reporter_ppm: int  # share of that loss which goes to whoever proved it; the rest is burned


class SubmissionParameters(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Rules of the contract `submissions`."""

    minimum_bond: int
    minimum_reward: int  # points for one vote
    max_intervals: int
    max_sample: int
    quorum: int  # verifiers drawn for a submission; all, if there are fewer
    min_sub_quorum: int
    max_sub_quorum: int
    attested_ppm: int  # share of the eligible stake that must be exceeded by those who attest availability
    availability_blocks: int  # from the submission to the last block with attestations
    draw_delay: int  # blocks from availability to the draw, fixed
    flag_blocks: int
    flags_per_verifier: int
    max_flags: int  # intervals of one submission that verifiers can add
    private_intervals: int  # a verifier's own, from a secret committed before the draw
    commit_blocks: int
    reveal_blocks: int
    escalated_votes: int  # further votes that the submitter pays for if a sub-quorum does not agree
    window_blocks: int  # from the verdict to its being final
    max_retention: int  # blocks for which a submitter may promise to keep the blobs


class Parameters(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All parameters of a ledger."""

    version: int
    minimum_fee: int  # points for any transaction, to the proposer of its block
    max_transaction_bytes: int
    max_block_bytes: int
    max_block_transactions: int
    stakes: StakeParameters
    submissions: SubmissionParameters


DEFAULT_PARAMETERS: Final = Parameters(
    version=0,
    minimum_fee=1,
    max_transaction_bytes=64 * 1024,
    max_block_bytes=4 * 1024 * 1024,
    max_block_transactions=16384,
    stakes=StakeParameters(
        minimum_stake=1_000,
        max_verifiers=1024,
        snapshot_period=4,
        snapshot_age=1,
        unbonding_blocks=100_000,
        max_unbondings=16,
        absence_penalty=2,
        broken_reveal_ppm=50_000,
        equivocation_ppm=500_000,
        reporter_ppm=500_000,
    ),
    submissions=SubmissionParameters(
        minimum_bond=1_000,
        minimum_reward=1,
        max_intervals=MAX_INTERVALS,
        max_sample=1024,
        quorum=15,
        min_sub_quorum=5,
        max_sub_quorum=64,
        attested_ppm=500_000,
        availability_blocks=600,
        draw_delay=2,
        flag_blocks=20,
        flags_per_verifier=2,
        max_flags=8,
        private_intervals=1,
        commit_blocks=3_600,
        reveal_blocks=600,
        escalated_votes=64,
        window_blocks=600,
        max_retention=1_000_000,
    ),
)
"""What a new ledger has where its founder says nothing else; windows for about one block a second."""


def compute_longest_life(parameters: Parameters) -> int:
    """Return the most blocks from the snapshot that a submission uses to the end of its window."""
    rules = parameters.submissions
    round_blocks = rules.draw_delay + rules.commit_blocks + rules.reveal_blocks
    before = parameters.stakes.snapshot_period + parameters.stakes.snapshot_age
    return before + rules.availability_blocks + rules.flag_blocks + ROUNDS * round_blocks + rules.window_blocks


def verify_parameters(parameters: Parameters) -> None:
    """Check that every parameter is in its range and that they fit together (BLK-3, BLK-4).

    Raises:
        MalformedEvidence: `WindowsRefused` or one of the classes of `fields`.
    """
    verify_version(parameters.version, "parameters")
    verify_number(parameters.minimum_fee, "minimum fee")
    verify_number(parameters.max_transaction_bytes, "longest transaction", 1024, 2**24)
    verify_number(parameters.max_block_bytes, "longest block", parameters.max_transaction_bytes, 2**25)
    verify_number(parameters.max_block_transactions, "transactions of a block", 1, 2**20)
    _verify_stakes(parameters.stakes)
    _verify_submissions(parameters.submissions)
    life = compute_longest_life(parameters)
    if parameters.stakes.unbonding_blocks <= life:
        raise WindowsRefused(
            "stake could leave before the end of what it answers for",
            expected=f"unbonding longer than {life} blocks",
            actual=parameters.stakes.unbonding_blocks,
        )


def _verify_stakes(rules: StakeParameters) -> None:
    verify_number(rules.minimum_stake, "minimum stake", 1, MAX_AMOUNT)
    verify_number(rules.max_verifiers, "number of verifiers", 1, MAX_VERIFIERS)
    verify_number(rules.snapshot_period, "period of snapshots", 1, MAX_WINDOW)
    verify_number(rules.snapshot_age, "age of snapshots", 1, MAX_WINDOW)
    verify_number(rules.unbonding_blocks, "unbonding", 1, 2**40)
    verify_number(rules.max_unbondings, "number of withdrawals", 1, 256)
    verify_number(rules.absence_penalty, "penalty of absence", 0, MAX_AMOUNT)
    for share in (rules.broken_reveal_ppm, rules.equivocation_ppm, rules.reporter_ppm):
        verify_number(share, "share", 0, MILLION)


def _verify_submissions(rules: SubmissionParameters) -> None:
    verify_number(rules.minimum_bond, "minimum bond", 0, MAX_AMOUNT)
    verify_number(rules.minimum_reward, "minimum reward", 0, MAX_AMOUNT)
    verify_number(rules.max_intervals, "number of intervals", 1, MAX_INTERVALS)
    verify_number(rules.max_sample, "size of a sample", 1, 4096)
    verify_number(rules.min_sub_quorum, "smallest sub-quorum", MIN_SUB_QUORUM, MAX_VERIFIERS)
    verify_number(rules.max_sub_quorum, "largest sub-quorum", rules.min_sub_quorum, MAX_VERIFIERS)
    verify_number(rules.quorum, "quorum", rules.min_sub_quorum, MAX_VERIFIERS)
    verify_number(rules.attested_ppm, "attested share", 0, MILLION - 1)
    for window in (
        rules.availability_blocks,
        rules.draw_delay,
        rules.flag_blocks,
        rules.commit_blocks,
        rules.reveal_blocks,
        rules.window_blocks,
    ):
        verify_number(window, "window", 1, MAX_WINDOW)
    verify_number(rules.flags_per_verifier, "flags of a verifier", 0, 4096)
    verify_number(rules.max_flags, "flags of a submission", 0, 4096)
    verify_number(rules.private_intervals, "private intervals", 0, 64)
    verify_number(rules.escalated_votes, "escalated votes", 0, 2**20)
    verify_number(rules.max_retention, "retention", 1, 2**40)
