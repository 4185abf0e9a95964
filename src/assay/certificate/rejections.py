"""Why a certificate is not accepted, one class per reason.

`Refuted` (exit 1) is reserved for an explicit finding about something that a trusted key stands behind. Everything
that merely fails to prove is `Unproven`, everything unreadable is `MalformedEvidence` (both exit 3).

Source: `spec/certificate.md`, CRT-24 to CRT-30.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.errors import MalformedEvidence, Refuted, Unproven, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from assay.certificate.parents import CheckedParent
    from assay.certificate.wording import Findings


class WithFindings(Exception):
    """A rejection that comes after the facts were established, and carries them."""

    findings: Findings | None = None
    parents: Sequence[CheckedParent] = ()

    def attach(self, findings: Findings, parents: Sequence[CheckedParent] = ()) -> Self:
        """Return this rejection with the facts that were established before it, and those about parents."""
        self.findings, self.parents = findings, parents
        return self


class MalformedCertificate(MalformedEvidence):
    """Bytes that are not a certificate in its one canonical form."""

    code = "certificate.malformed"


class SignatureFailed(Refuted):
    """A key that the reader trusts is named as signer of a well-formed envelope, and did not sign these bytes."""

    code = "certificate.signature-failed"


class ForeignSignatureFailed(MalformedEvidence):
    """A key that the reader does not trust is named as signer and did not sign: the envelope is not minimal."""

    code = "certificate.foreign-signature-failed"


class ClaimContradicted(Refuted):
    """What the certificate carries contradicts what it says."""

    code = "certificate.contradicted"


class IntervalDiffers(WithFindings, Refuted):
    """A checker recomputed an interval, and got something else."""

    code = "certificate.interval-differs"


class StartDiffers(WithFindings, Refuted):
    """A checker ran the initialiser from the seed, and got another start."""

    code = "certificate.start-differs"


class MetricsDiffer(WithFindings, Refuted):
    """A checker measured on the test set, and got other values."""

    code = "certificate.metrics-differ"


class AnotherModel(Refuted):
    """The model file is not the certified one: its size, its SHA-256 or its model root differs."""

    code = "certificate.another-model"


class NewerFormat(Unproven):
    """The certificate has a format that this release does not know."""

    code = "certificate.newer-format"


class SignersUnknown(WithFindings, Unproven):
    """No signer is trusted by the reader: nothing is proven about who checked."""

    code = "certificate.signers-unknown"


class OwnKeyOnly(WithFindings, Unproven):
    """Nobody but the recorder's own key checked: shown, and never counted."""

    code = "certificate.own-key-only"


class PolicyNotMet(WithFindings, Unproven):
    """The certificate holds, and proves less than the reader asked for."""

    code = "certificate.policy-not-met"


class AnchorUnknown(Unproven):
    """The certificate has evidence of a ledger that is not one of the reader's anchors."""

    code = "certificate.anchor-unknown"


class LedgerUnproven(Unproven):
    """A seal, a proof or the draw in the evidence of a ledger does not hold; nothing else is refuted by that."""

    code = "certificate.ledger-unproven"


class NotFinal(Unproven):
    """The ledger's verdict may still change."""

    code = "certificate.not-final"


class VerdictRejected(WithFindings, Refuted):
    """A ledger of the reader rejected the run: its sub-quorums found it false or malformed."""

    code = "certificate.verdict-rejected"


class AnotherParent(WithFindings, Refuted):
    """A certificate that is not the one that the start of the run names."""

    code = "certificate.another-parent"


class ParentContradicted(WithFindings, Refuted):
    """The start names a parent's certificate, and another model than that certificate is about."""

    code = "certificate.parent-contradicted"


class ParentRefuted(WithFindings, Refuted):
    """The parent's certificate is refuted."""

    code = "certificate.parent-refuted"


class ParentUnproven(WithFindings, Unproven):
    """The parent's certificate proves nothing under the reader's policy."""

    code = "certificate.parent-unproven"


class NoParentNamed(UsageError):
    """A parent's certificate is given, and the start of the run names none."""

    code = "certificate.no-parent"
