"""A certificate with those of the models that it started from: each is checked as if it stood alone, then joined.

A certified start names the parent's certificate by the SHA-256 of its bytes, and a model root. Certificates that are
given are followed from child to parent; each one has to be named by the one before it. A name is a digest of what was
there already, so that a chain cannot run in a circle.

Source: `spec/certificate.md`, CRT-38 to CRT-41.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

import msgspec

from assay.certificate.dsse import open_envelope
from assay.certificate.model_file import Reader
from assay.certificate.policy import TrustPolicy
from assay.certificate.rejections import (
    AnotherParent,
    NoParentNamed,
    ParentContradicted,
    ParentRefuted,
    ParentUnproven,
    WithFindings,
)
from assay.certificate.statement import Predicate, decode_statement, open_document
from assay.certificate.verify import verify_certificate
from assay.certificate.wording import UNCHECKED_PARENT, Findings, get_witnesses
from assay.errors import AssayError, MalformedEvidence, Refuted, UsageError
from assay.protocol.evidence.plan import CertifiedStart, InitialisedStart, Plan, Start

Outcome = Literal["holds", "refuted", "unproven"]
"""What verifying a certificate alone leads to: exit 0, exit 1, exit 3."""


class GivenParent(NamedTuple):
    """A certificate that somebody says is the parent's: what it is called, and its bytes."""

    name: str
    data: bytes


class CheckedParent(msgspec.Struct, frozen=True, rename="camel"):
    """A parent's certificate, checked as if it stood alone.

    Attributes:
        name: of its file.
        certificate: SHA-256 of its bytes, hex.
        outcome: of verifying it.
        reason: why it does not hold; empty if it does.
        findings: the facts, where they are known.
    """

    name: str
    certificate: str
    outcome: Outcome
    reason: str
    findings: Findings | None


class Lineage(NamedTuple):
    """A certificate and its parents.

    Attributes:
        findings: of the certificate, with what the parent adds and takes away.
        parents: from the nearest to the farthest.
        error: what does not hold, the worst of all; None: everything holds.
    """

    findings: Findings
    parents: list[CheckedParent]
    error: AssayError | None


class _Link(NamedTuple):
    """One certificate of a chain, the child first; without facts there is no predicate and no start."""

    name: str
    data: bytes
    findings: Findings | None
    predicate: Predicate | None
    start: Start | None
    error: AssayError | None


def verify_lineage(data: bytes, model: Reader | None, policy: TrustPolicy, parents: Sequence[GivenParent]) -> Lineage:
    """Check a certificate, those of its parents under the same policy, and that each start is its parent's model.

    Args:
        data: the bytes of the certificate.
        model: a binary stream at the start of its model file, or None.
        policy: whose keys are trusted, and how much is enough, of every certificate.
        parents: certificates of the chain, in any order: parent, its parent and so on; at least one.

    Returns:
        What was found. A refutation of any of them is the error, before one that proves nothing.

    Raises:
        Refuted, Unproven, MalformedEvidence: the certificate itself has no facts to join a parent to.
    """
    child = _check("this certificate", data, model, policy)
    if child.findings is None:
        raise child.error or MalformedEvidence("the certificate has no facts")
    given = {sha256(parent.data).hexdigest(): parent for parent in parents}
    chain, errors = [child], [child.error]
    while isinstance(start := chain[-1].start, CertifiedStart) and start.certificate.hex() in given:
        parent = given.pop(start.certificate.hex())
        chain.append(_check(parent.name, parent.data, None, policy))
        errors += _join(chain[-2], chain[-1], start)
    if given and chain[-1].start is not None:
        digest, stranger = next(iter(given.items()))
        errors.append(_refuse_stranger(chain[-1], digest, _check(stranger.name, stranger.data, None, policy)))
    following = [*chain[1:], None]
    checked = [
        CheckedParent(
            link.name,
            sha256(link.data).hexdigest(),
            *_judge(link),
            findings=None if link.findings is None else _tell(link.findings, link, parent),
        )
        for link, parent in zip(chain[1:], following[1:], strict=True)
    ]
    findings = _tell(child.findings, child, following[0])
    error = min((one for one in errors if one is not None), key=_rank, default=None)
    return Lineage(findings, checked, error.attach(findings, checked) if isinstance(error, WithFindings) else error)


def _check(name: str, data: bytes, model: Reader | None, policy: TrustPolicy) -> _Link:
    """Verify one certificate as if it stood alone (CRT-38)."""
    error = None
    try:
        findings: Findings | None = verify_certificate(data, model, policy)
    except AssayError as reason:
        findings, error = getattr(reason, "findings", None), reason
    if findings is None:
        return _Link(name, data, None, None, None, error)
    predicate = decode_statement(open_envelope(data)[0]).predicate
    return _Link(name, data, findings, predicate, open_document(predicate.plan, Plan).start, error)


def _join(child: _Link, parent: _Link, start: CertifiedStart) -> list[AssayError | None]:
    """Return what is wrong with the certificate that was named, and with the model that was named (CRT-39)."""
    errors: list[AssayError | None] = []
    if parent.error is not None:
        kind = ParentRefuted if isinstance(parent.error, Refuted) else ParentUnproven
        errors.append(
            kind(
                f"the parent {parent.name} {'is refuted' if kind is ParentRefuted else 'proves nothing'}: "
                f"{parent.error.message}",
                expected=parent.error.expected,
                actual=parent.error.actual,
                next_step=parent.error.next_step,
            )
        )
    if parent.findings is not None and parent.findings.model_root != start.model_root.hex():
        contradiction = ParentContradicted(
            f"{child.name} names the certificate {parent.name} and another model than that certificate is about",
            expected=f"model root {parent.findings.model_root}",
            actual=f"model root {start.model_root.hex()}",
            next_step="do not rely on the start of this run; ask whoever recorded it",
        )
        errors.append(_weigh(child, contradiction))
    return errors


def _refuse_stranger(last: _Link, digest: str, stranger: _Link) -> AssayError:
    """Return why a certificate belongs to no place of the chain (CRT-40); a damaged file refutes nothing."""
    if isinstance(stranger.error, MalformedEvidence):
        return ParentUnproven(
            f"{stranger.name} is no certificate: {stranger.error.message}",
            expected=f"the parent that {last.name} names",
            actual=f"SHA-256 {digest}",
            next_step="get the file again from its source",
        )
    if not isinstance(last.start, CertifiedStart):
        return NoParentNamed(
            f"{stranger.name} is given as a parent, and the start of {last.name} names none",
            expected="a certified start (run.adopt)",
            actual="an initialised start" if isinstance(last.start, InitialisedStart) else "a declared start",
            next_step="verify it without --parent",
        )
    return _weigh(
        last,
        AnotherParent(
            f"{stranger.name} is not the parent that {last.name} names",
            expected=f"a certificate with SHA-256 {last.start.certificate.hex()}",
            actual=f"SHA-256 {digest}",
            next_step="give the file that run.adopt was given, unchanged: the run keeps its bytes in parent.bin",
        ),
    )


def _weigh(naming: _Link, contradiction: AssayError) -> AssayError:
    """Let a contradiction refute only where a trusted key stands behind the certificate that names (CRT-27)."""
    findings = naming.findings
    if findings is not None and (findings.ledger is not None or any(signer.name for signer in findings.signers)):
        return contradiction
    return ParentUnproven(
        f"signers unknown: nothing is proven about who checked; besides: {contradiction.message}",
        expected=contradiction.expected,
        actual=contradiction.actual,
        next_step=contradiction.next_step,
    )


def _rank(error: AssayError) -> int:
    """Order errors by what a reader has to know first: refuted, wrongly asked, unproven (CRT-41)."""
    return 0 if isinstance(error, Refuted) else 1 if isinstance(error, UsageError) else 2


def _judge(link: _Link) -> tuple[Outcome, str]:
    if link.error is None:
        return "holds", ""
    return "refuted" if isinstance(link.error, Refuted) else "unproven", link.error.message


def _tell(findings: Findings, link: _Link, parent: _Link | None) -> Findings:
    """Return the findings of a certificate with what its parent adds: sentences, never facts (CRT-41)."""
    if link.predicate is None or parent is None:
        return findings
    outcome, reason = _judge(parent)
    name = f"the parent {parent.name} ({sha256(parent.data).hexdigest()[:16]}…)"
    left = [said for said in findings.not_proven if said != UNCHECKED_PARENT]
    is_same = (
        parent.findings is not None
        and isinstance(link.start, CertifiedStart)
        and (parent.findings.model_root == link.start.model_root.hex())
    )
    if outcome != "holds" or parent.findings is None or not is_same:
        failing = {"refuted": "which is refuted", "unproven": "of which nothing is proven here"}
        said = f"{failing[outcome]}: {reason}" if reason else "which is about another model"
        left.insert(0, f"The starting weights are said to come from {name}, {said}.")
        return msgspec.structs.replace(findings, not_proven=left)
    found = parent.findings
    proven = [
        f"{witness} states: the first model of the start is that of {name}, which holds by itself: "
        f"{found.level}, {found.recomputed} of {found.intervals} intervals."
        for witness in get_witnesses(findings)
    ]
    left.insert(0, "What the parent's own certificate does not prove: that is not proven of this model either.")
    names = [*link.predicate.model.parameters, *link.predicate.model.buffers]
    added = [name for name in names if not name.startswith("0/")]
    if added:
        left.insert(1, f"Where the {len(added)} tensors of further models ({added[0]}, …) started: merely declared.")
    return msgspec.structs.replace(findings, proven=[*findings.proven, *proven], not_proven=left)
