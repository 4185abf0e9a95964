"""The certificates of a run as a report shows them: each verified with the keys that the maker of the report trusts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from assay.certificate.dsse import MAX_BYTES, open_envelope
from assay.certificate.parents import CheckedParent, GivenParent, Outcome, verify_lineage
from assay.certificate.policy import TrustPolicy
from assay.certificate.statement import Predicate, decode_statement
from assay.certificate.verify import verify_certificate
from assay.certificate.wording import Findings
from assay.errors import AssayError, Refuted, UsageError
from assay.protocol.evidence.plan import compute_closing_id
from assay.storage.files import Files, read_file
from assay.training.recorded import RecordedRun


class AnotherRun(UsageError):
    """A certificate that is about another run than the report."""

    code: ClassVar[str] = "report.another-run"


class CheckedCertificate(msgspec.Struct, frozen=True):
    """One certificate and what verifying it found.

    Attributes:
        name: of its file.
        data: its bytes.
        outcome: as `assay verify` would say.
        reason: why it does not hold; empty if it does.
        findings: the facts, where they are known.
        predicate: what it says, where the facts are known.
        parents: certificates of the chain from which the run started, each checked as if it stood alone.
    """

    name: str
    data: bytes
    outcome: Outcome
    reason: str
    findings: Findings | None
    predicate: Predicate | None
    parents: list[CheckedParent] = []

    @property
    def recorder_only(self) -> bool:
        """True if every key that signed is the recorder's own."""
        return self.findings is not None and all(signer.is_recorder for signer in self.findings.signers)


def check_certificates(
    run: RecordedRun, extra: Path | None, policy: TrustPolicy, parents: Sequence[Path] = ()
) -> list[CheckedCertificate]:
    """Verify the certificates in the run's `audit/` folder, or the one that is given, the most telling first.

    A refutation by a trusted key comes first, then what holds over most intervals, then the rest.

    Args:
        run: that they have to be about.
        extra: a certificate to take instead of those in the run.
        policy: whose keys are trusted.
        parents: certificates of the chain from which the run started; none: the parent is not checked.

    Raises:
        AnotherRun: the given certificate is about another run.
        StorageError: it cannot be read.
    """
    given = [GivenParent(path.name, read_file(Files(), path, MAX_BYTES)) for path in parents]
    if extra is not None:
        found = [check_certificate(extra.name, read_file(Files(), extra, MAX_BYTES), policy, given)]
        if found[0].predicate is not None and not _is_about(found[0].predicate, run):
            raise AnotherRun(
                f"{extra} is about another run",
                expected=f"plan {run.plan_id.hex()}",
                actual=f"plan {found[0].predicate.plan.id}",
                next_step="give a certificate that an audit of this very run wrote",
            )
        return found
    names = [name for name in run.directory.list_objects("audit") if name.endswith(".assay.json")]
    checked = [
        check_certificate(name, run.directory.read_object(name, max_bytes=MAX_BYTES), policy, given) for name in names
    ]
    mine = [one for one in checked if one.predicate is None or _is_about(one.predicate, run)]
    return sorted(mine, key=_rank)


def _is_about(predicate: Predicate, run: RecordedRun) -> bool:
    if predicate.plan.id != run.plan_id.hex():
        return False
    return run.is_finished and predicate.closing.id == compute_closing_id(run.closing).hex()


def _rank(one: CheckedCertificate) -> tuple[int, int, str]:
    order = {"refuted": 0, "holds": 1, "unproven": 2}[one.outcome]
    return order, -(one.findings.recomputed if one.findings else -1), one.name


def check_certificate(
    name: str, data: bytes, policy: TrustPolicy, parents: Sequence[GivenParent] = ()
) -> CheckedCertificate:
    """Verify one certificate, and those of its parents; whatever does not hold becomes part of the result.

    Raises:
        NoParentNamed: a parent of a run whose start names none.
    """
    findings: Findings | None
    checked: list[CheckedParent] = []
    try:
        if parents:
            findings, checked, error = verify_lineage(data, None, policy, parents)
        else:
            findings, error = verify_certificate(data, None, policy), None
    except AssayError as reason:
        findings, error = getattr(reason, "findings", None), reason
    if isinstance(error, UsageError):
        raise error
    outcome: Outcome = "holds" if error is None else "refuted" if isinstance(error, Refuted) else "unproven"
    predicate = decode_statement(open_envelope(data)[0]).predicate if findings is not None else None
    return CheckedCertificate(name, data, outcome, "" if error is None else error.message, findings, predicate, checked)
