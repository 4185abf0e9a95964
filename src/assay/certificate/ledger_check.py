"""Checks the evidence of a ledger against an anchor: seals, proofs, the draw again, and what follows for the findings.

Nothing in a certificate can make a ledger trusted: the anchor, its genesis, comes from the reader. Whatever does not
hold here proves nothing, and refutes nothing: anybody can write such a certificate.

Source: `spec/certificate.md`, CRT-32 to CRT-37.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from assay.certificate.dsse import decode_base64, decode_hex
from assay.certificate.json_forms import LedgerClaim, StateClaim
from assay.certificate.ledger_claim import claim_corrupt, list_draw_heights
from assay.certificate.rejections import AnchorUnknown, LedgerUnproven, NotFinal
from assay.certificate.statement import FindingClaim, Kind, Result
from assay.errors import InvalidBlock, VerificationError
from assay.protocol.blocks import Genesis, Header
from assay.protocol.contracts.stake_records import Snapshot
from assay.protocol.contracts.stakes import snapshot_key
from assay.protocol.contracts.submission_keys import (
    attempts_key,
    draw_key,
    judged_key,
    judgement_key,
    status_key,
    submission_key,
)
from assay.protocol.contracts.submission_records import (
    ACCEPTED,
    ACCUSED,
    FINAL,
    FLAGGED,
    REJECTED,
    UNIFORM,
    Attempts,
    IntervalJudgement,
    IntervalList,
    Submission,
    SubmissionStatus,
)
from assay.protocol.encoding import RecordT, decode
from assay.protocol.evidence.chances import compute_corrupt_chance
from assay.protocol.evidence.draw import (
    Draw,
    Seat,
    compute_draw_id,
    draw_further,
    draw_quorum,
    draw_sub_quorum,
    select_sample,
)
from assay.protocol.evidence.votes import METRICS_CHECK, START_CHECK
from assay.protocol.ledger_proofs import StateProof, verify_state_proof
from assay.protocol.seals.solo import FAULT_MODEL, verify_seal

MAX_HEADERS = 64
MAX_JUDGEMENTS = 4096


class Anchor(NamedTuple):
    """A ledger that the reader trusts as such: the reader's name for it, and its genesis."""

    name: str
    genesis: Genesis


@dataclass(frozen=True)
class LedgerFacts:
    """What the state of an anchored ledger says about a submission; everything in it was proven.

    Attributes:
        name: the reader's name for the ledger.
        chain_id: its id.
        issuer: whoever wrote the certificate.
        submission, status, draw, judgements, attempts: records.
        height, time: of the newest header; the time in milliseconds, as the engine states it.
        share: assumed share of lying stake f.
        corrupt: c that follows.
    """

    name: str
    chain_id: bytes
    issuer: bytes
    submission: Submission
    status: SubmissionStatus
    draw: Draw
    judgements: tuple[IntervalJudgement, ...]
    attempts: int
    height: int
    time: int
    share: Fraction
    corrupt: Fraction


def verify_final(status: SubmissionStatus) -> None:
    """Check that a verdict can no longer change.

    Raises:
        NotFinal: it can.
    """
    if status.phase != FINAL:
        raise NotFinal(
            "the verdict is not final: a certificate is issued when the window has closed",
            expected=FINAL,
            actual=status.phase,
        )


def check_ledger(claim: LedgerClaim, anchors: Mapping[bytes, Anchor]) -> LedgerFacts:
    """Return what is proven under an anchor of the reader.

    Raises:
        AnchorUnknown: the reader has no anchor of this ledger.
        NotFinal: the verdict may still change.
        LedgerUnproven: a seal, a proof or the draw does not hold.
        MalformedEvidence: not in the one canonical form.
    """
    chain_id = decode_hex(claim.chain_id, "chain id")
    anchor = anchors.get(chain_id)
    if anchor is None:
        raise AnchorUnknown(
            "this ledger is not one of your anchors: nothing is proven about who checked",
            expected="a ledger whose genesis you have from a source that you trust",
            actual=claim.chain_id,
            next_step="if you have its genesis from elsewhere: assay trust add NAME --anchor FILE",
        )
    try:
        return _Reader(claim, anchor, chain_id).read()
    except (InvalidBlock, VerificationError) as error:
        if isinstance(error, (NotFinal, LedgerUnproven)):
            raise
        raise LedgerUnproven(
            "the evidence of the ledger does not hold", expected="seals, proofs and a draw that hold", actual=str(error)
        ) from None


class _Reader:
    """Opens the evidence of one submission, step by step."""

    def __init__(self, claim: LedgerClaim, anchor: Anchor, chain_id: bytes) -> None:
        self.claim = claim
        self.anchor = anchor
        self.chain_id = chain_id
        if not 1 <= len(claim.headers) <= MAX_HEADERS or len(claim.judgements) > MAX_JUDGEMENTS:
            raise LedgerUnproven("too many headers or judgements", expected=f"at most {MAX_HEADERS}, {MAX_JUDGEMENTS}")
        self.headers = [self._open_header(sealed.header, sealed.seal) for sealed in claim.headers]

    def _open_header(self, header: str, seal: str) -> Header:
        opened = decode(decode_base64(header), Header)
        if opened.chain_id != self.chain_id:
            raise LedgerUnproven("a header of another ledger", expected=self.chain_id.hex())
        verify_seal(self.anchor.genesis, opened, decode_base64(seal))
        return opened

    def _get_header(self, place: int) -> Header:
        if not 0 <= place < len(self.headers):
            raise LedgerUnproven("a proof names a header that is not there", actual=place)
        return self.headers[place]

    def _open(self, claim: StateClaim, key: bytes, kind: type[RecordT]) -> RecordT:
        """Return a record that is proven to stand under a key."""
        value = decode_base64(claim.value)
        proof = decode(decode_base64(claim.proof), StateProof)
        header = self._get_header(claim.header)
        verify_state_proof(header.state_root, int.from_bytes(key[:2], "little"), key[2:], value, proof)
        return decode(value, kind)

    def read(self) -> LedgerFacts:
        """Return the facts."""
        claim = self.claim
        identity = decode(decode_base64(claim.submission.value), Submission).submission
        submission = self._open(claim.submission, submission_key(identity), Submission)
        status = self._open(claim.status, status_key(identity), SubmissionStatus)
        verify_final(status)
        draw = self._open(claim.draw, draw_key(identity), Draw)
        self._check_draw(submission, status, draw)
        beacons = self._read_beacons(status, draw)
        numbers = self._open(claim.judged, judged_key(identity), IntervalList).intervals
        if len(numbers) != len(claim.judgements):
            raise LedgerUnproven("judgements are missing", expected=len(numbers), actual=len(claim.judgements))
        judgements = tuple(
            self._open(each, judgement_key(identity, number), IntervalJudgement)
            for number, each in zip(numbers, claim.judgements, strict=True)
        )
        self._check_seats(submission, draw, beacons, judgements)
        attempts = self._open(claim.attempts, attempts_key(submission.run.plan), Attempts).count
        newest = max(self.headers, key=lambda header: header.height)
        share = parse_share(claim.assumed_share)
        self._check_words(submission, share)
        return LedgerFacts(
            self.anchor.name,
            self.chain_id,
            decode_hex(claim.issuer, "issuer"),
            submission,
            status,
            draw,
            judgements,
            attempts,
            newest.height,
            newest.time,
            share,
            compute_corrupt_chance(submission.run.sub_quorum, share),
        )

    def _check_words(self, submission: Submission, share: Fraction) -> None:
        if self.claim.fault_model != FAULT_MODEL:
            raise LedgerUnproven("another fault model than that of the engine", expected=FAULT_MODEL)
        if self.claim.corrupt != claim_corrupt(submission.run.sub_quorum, share):
            raise LedgerUnproven("the chance of a corrupt sub-quorum is another", actual=self.claim.corrupt.rounded)

    def _check_draw(self, submission: Submission, status: SubmissionStatus, draw: Draw) -> None:
        """Draw again: the facts are those of the submission, the beacon that of its height (CRT-34)."""
        facts, run = draw.facts, submission.run
        identity = compute_draw_id(facts)
        rules = self.anchor.genesis.parameters.submissions
        snapshot = self._open(self.claim.snapshot, snapshot_key(submission.snapshot_height), Snapshot)
        self.eligible = tuple(seat for seat in snapshot.seats if seat.account != submission.account)
        for what, expected, actual in (
            ("id of the draw", status.draw, identity),
            ("submission", submission.submission, facts.submission),
            ("sample size", run.sample, facts.sample),
            ("number of intervals", submission.intervals, facts.intervals),
            ("sub-quorum", run.sub_quorum, facts.sub_quorum),
            ("snapshot", submission.snapshot_height, facts.snapshot_height),
            ("availability height", status.availability_height, facts.availability_height),
            ("draw height", facts.availability_height + rules.draw_delay, facts.draw_height),
            ("sample", select_sample(identity, facts), draw.sample),
            ("quorum", draw_quorum(identity, self.eligible, max(rules.quorum, run.sub_quorum)), draw.quorum),
        ):
            if expected != actual:
                raise LedgerUnproven(f"the {what} is not what drawing again gives")

    def _read_beacons(self, status: SubmissionStatus, draw: Draw) -> list[bytes]:
        """Return the beacons that drew seats, from the headers of their heights (CRT-34)."""
        heights = list_draw_heights(draw, self.anchor.genesis.parameters.submissions, status)
        headers = [self._get_header(place) for place in self.claim.drawn]
        actual = tuple(header.height for header in headers)
        if actual != heights or headers[0].beacon != draw.facts.beacon:
            raise LedgerUnproven("the headers are not those of the draws", expected=heights, actual=actual)
        return [header.beacon for header in headers]

    def _check_seats(
        self, submission: Submission, draw: Draw, beacons: Sequence[bytes], judgements: Sequence[IntervalJudgement]
    ) -> None:
        """Draw the sub-quorums of every round again, and compare what is judged with the sample (CRT-34)."""
        for judgement in judgements:
            if judgement.round > len(beacons) - 2 or (not judgement.finding and judgement.round < len(beacons) - 2):
                raise LedgerUnproven("an interval was not drawn in its rounds", actual=judgement.interval)
            if judgement.seats != self._draw_seats(submission, draw, beacons, judgement):
                raise LedgerUnproven("a sub-quorum is not what drawing again gives", actual=judgement.interval)
        uniform = tuple(j.interval for j in judgements if j.origin == UNIFORM)
        if uniform != draw.sample:
            raise LedgerUnproven("what is judged is not the sample", expected=draw.sample, actual=uniform)

    def _draw_seats(
        self, submission: Submission, draw: Draw, beacons: Sequence[bytes], judgement: IntervalJudgement
    ) -> tuple[Seat, ...]:
        """Return everybody who must be assigned to an interval: those of the first round, then of each later one."""
        identity, quorum = compute_draw_id(draw.facts), submission.run.sub_quorum
        seats: tuple[Seat, ...] = ()
        if judgement.origin != ACCUSED:  # what a verifier's own interval accused is judged from the second round on
            beacon = beacons[judgement.origin == FLAGGED]
            members = tuple(sorted(draw.quorum, key=lambda seat: seat.account))
            seats = draw_sub_quorum(identity, beacon, judgement.interval, 0, members, quorum)
        for number in range(1, judgement.round + 1):
            beacon = beacons[1 + number]
            seats += draw_further(identity, beacon, judgement.interval, number, quorum, seats, self.eligible)
        return seats


def parse_share(text: str) -> Fraction:
    """Return an assumed share in its one form: a fraction in lowest terms."""
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and len(part) <= 4 for part in parts):
        raise LedgerUnproven("not a share", expected="such as 1/5", actual=ascii(text[:40]))
    numerator, denominator = int(parts[0]), int(parts[1])
    if (
        not denominator
        or f"{Fraction(numerator, denominator).numerator}/{Fraction(numerator, denominator).denominator}" != text
    ):
        raise LedgerUnproven("not a share in lowest terms", expected="such as 1/5", actual=ascii(text[:40]))
    return Fraction(numerator, denominator)


_ORIGINS: dict[str, Kind] = {UNIFORM: "uniform", FLAGGED: "flagged", ACCUSED: "private"}
_RESULTS: dict[str, Result] = {ACCEPTED: "matches", REJECTED: "differs"}


def derive_findings(facts: LedgerFacts) -> list[FindingClaim]:
    """Return the findings that the judgements of sub-quorums give (CRT-35)."""
    intervals = facts.submission.intervals
    whole = len(facts.draw.sample) == intervals
    return [
        FindingClaim(
            judgement.interval,
            "all" if whole and judgement.origin == UNIFORM else _ORIGINS[judgement.origin],
            _RESULTS.get(judgement.finding, "inconclusive"),
        )
        for judgement in facts.judgements
        if judgement.interval < intervals
    ]


def get_check(facts: LedgerFacts, check: int) -> str:
    """Return "recomputed", "differs" or "" (nothing was found) for the check of start or metrics (CRT-35)."""
    number = facts.submission.intervals + check
    finding = next((each.finding for each in facts.judgements if each.interval == number), "")
    return {ACCEPTED: "recomputed", REJECTED: "differs"}.get(finding, "")


__all__ = [
    "METRICS_CHECK",
    "START_CHECK",
    "Anchor",
    "LedgerFacts",
    "check_ledger",
    "derive_findings",
    "get_check",
    "parse_share",
]
