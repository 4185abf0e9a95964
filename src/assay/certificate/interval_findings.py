"""The findings of an audit, and what follows from them: level of evidence, sample size, chances.

Source: `spec/certificate.md`, CRT-15 to CRT-19.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from assay.certificate.dsse import decode_hex
from assay.certificate.json_forms import Chance
from assay.certificate.rejections import ClaimContradicted, MalformedCertificate
from assay.certificate.statement import (
    MAX_LISTED,
    ChancesClaim,
    FindingClaim,
    FindingsClaim,
    FindingsTree,
    Level,
)
from assay.protocol import tags
from assay.protocol.encoding import Record, encode
from assay.protocol.evidence.chances import FORMULA_VERSION, compute_miss_chance, compute_smallest_caught
from assay.protocol.evidence.plan import ClosingRecord, Plan
from assay.protocol.evidence.selection import MAX_INTERVALS
from assay.protocol.merkle import compute_data_root

NO_CHANCE = Fraction(0)

COUNTED = ("uniform", "all")
"""Kinds of findings that enter the stated chances."""


class FindingRecord(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One finding as it is hashed."""

    interval: int
    kind: str
    result: str


def compute_interval_count(plan: Plan, closing: ClosingRecord) -> int:
    """Return N, the number of intervals (CRT-15); only the last may be shorter.

    Raises:
        MalformedCertificate: no steps, an interval without length, or more intervals than `MAX_INTERVALS`.
    """
    if plan.interval_length < 1 or closing.steps < 1:
        raise MalformedCertificate("a run needs steps and intervals", actual=(closing.steps, plan.interval_length))
    count = -(-closing.steps // plan.interval_length)
    if count > MAX_INTERVALS:
        raise MalformedCertificate("too many intervals", expected=MAX_INTERVALS, actual=count)
    return count


def compute_findings_root(findings: Sequence[FindingClaim]) -> bytes:
    """Return the Merkle root over findings that are sorted by interval."""
    leaves = [encode(FindingRecord(finding.interval, finding.kind, finding.result)) for finding in findings]
    return compute_data_root(tags.FINDINGS_TREE, leaves)


def summarise_findings(findings: Sequence[FindingClaim]) -> FindingsClaim:
    """Return findings as the predicate lists them: all, or a tree and those that did not match (CRT-17).

    Raises:
        MalformedCertificate: more than `MAX_LISTED` findings did not match.
    """
    ordered = sorted(findings, key=lambda finding: finding.interval)
    if len(ordered) <= MAX_LISTED:
        return FindingsClaim(ordered, "none")
    tree = FindingsTree(len(ordered), compute_findings_root(ordered).hex())
    listed = [finding for finding in ordered if finding.result != "matches"]
    if len(listed) > MAX_LISTED:
        raise MalformedCertificate("too many findings differ to be listed", expected=MAX_LISTED, actual=len(listed))
    return FindingsClaim(listed, tree)


def count_sampled(findings: Sequence[FindingClaim]) -> int:
    """Return s: how many findings were drawn uniformly, or taken all (CRT-16)."""
    return sum(finding.kind in COUNTED for finding in findings)


def compute_level(recomputed: int, programs: int) -> Level:
    """Return the level of evidence that findings and programs give (CRT-19)."""
    if recomputed:
        return "recomputed"
    return "replayable" if programs else "observed"


def compute_chances(intervals: int, sampled: int, corrupt: Fraction = NO_CHANCE) -> ChancesClaim:
    """Return the two chances of a check of `sampled` of `intervals` intervals (CRT-18).

    Args:
        intervals: N.
        sampled: s.
        corrupt: c, 0 for a check alone: no quorum.

    Raises:
        MalformedEvidence: more intervals than a run may have, or more sampled than there are.
    """
    if not sampled:
        return ChancesClaim(FORMULA_VERSION, format_chance(Fraction(1)), "none")
    caught = compute_smallest_caught(intervals, sampled, corrupt=corrupt)
    return ChancesClaim(
        FORMULA_VERSION,
        format_chance(compute_miss_chance(intervals, sampled, 1, corrupt)),
        "none" if caught is None else str(caught),
    )


def check_findings(findings: FindingsClaim, intervals: int, sampled: int) -> int:
    """Check the findings of a certificate among each other (CRT-16, CRT-17).

    Args:
        findings: what the certificate lists.
        intervals: N, as derived from plan and closing record.
        sampled: s, as the certificate states it.

    Returns:
        How many intervals were recomputed, of any kind.

    Raises:
        MalformedCertificate: not sorted, not unique, outside 0 to N - 1, or in the wrong one of the two forms.
        ClaimContradicted: s is not what the findings give.
    """
    listed = findings.listed
    numbers = [finding.interval for finding in listed]
    if numbers != sorted(set(numbers)) or (numbers and not 0 <= numbers[0] <= numbers[-1] < intervals):
        raise MalformedCertificate("findings are not sorted, or outside the run", expected=f"0 to {intervals - 1}")
    if len(listed) > MAX_LISTED:
        raise MalformedCertificate("too many findings are listed", expected=MAX_LISTED, actual=len(listed))
    if findings.tree == "none":
        if count_sampled(listed) != sampled:
            raise ClaimContradicted("sample size", expected=count_sampled(listed), actual=sampled)
        every = sum(finding.kind == "all" for finding in listed)
        if every and every != intervals:
            raise ClaimContradicted("findings say that all intervals were taken", expected=intervals, actual=every)
        if sampled and (numbers[-1] != intervals - 1 or listed[-1].kind not in COUNTED):
            raise ClaimContradicted("the last interval is always part of the sample", expected=intervals - 1)
        return len(listed)
    size = findings.tree.size
    decode_hex(findings.tree.root, "root of the findings")
    if not MAX_LISTED < size <= intervals or not 0 <= sampled <= size or len(listed) > size:
        raise MalformedCertificate("size of the tree of findings", expected=f"{MAX_LISTED + 1} to {intervals}")
    if any(finding.result == "matches" for finding in listed):
        raise MalformedCertificate("beyond the limit only findings that did not match are listed")
    return size


def format_chance(chance: Fraction) -> Chance:
    """Return a probability as an exact fraction and rounded half to even at six digits."""
    millionths = round(chance * 1_000_000)
    return Chance(f"{chance.numerator}/{chance.denominator}", f"{millionths // 1_000_000}.{millionths % 1_000_000:06d}")
