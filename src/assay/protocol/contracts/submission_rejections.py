"""Why a transaction of the contract `submissions` is refused, one class for each reason.

Source: `spec/submissions.md`.
"""

from __future__ import annotations

from typing import ClassVar

from assay.errors import InvalidTransaction


class SubmissionMalformed(InvalidTransaction):
    """A submission with a field outside its range, or paths that have no possible form."""

    code: ClassVar[str] = "submission.malformed"


class TermsRefused(InvalidTransaction):
    """Sample, sub-quorum, bond, reward or retention outside the bounds of the parameters."""

    code: ClassVar[str] = "submission.terms"


class ContextRefuted(InvalidTransaction):
    """A transcript whose first leaf is not that of this account, plan, start and nonce on this ledger."""

    code: ClassVar[str] = "submission.context"


class RootsContradicted(InvalidTransaction):
    """First or last checkpoint, or the model root, do not stand under the roots of the submission."""

    code: ClassVar[str] = "submission.roots"


class ContextTaken(InvalidTransaction):
    """A context under which a run was submitted already."""

    code: ClassVar[str] = "submission.context-taken"


class WrongAttempt(InvalidTransaction):
    """A submission that does not say rightly how often its plan was submitted before."""

    code: ClassVar[str] = "submission.attempt"


class TooFewVerifiers(InvalidTransaction):
    """No snapshot of stakes that is old enough, or fewer verifiers in it than a sub-quorum has."""

    code: ClassVar[str] = "submission.too-few-verifiers"


class SubmissionUnknown(InvalidTransaction):
    """No submission has this id."""

    code: ClassVar[str] = "submission.unknown"


class WrongPhase(InvalidTransaction):
    """Something that the submission's phase or round does not permit: too early or too late."""

    code: ClassVar[str] = "submission.phase"


class NotTheSubmitter(InvalidTransaction):
    """A withdrawal by another account than the submitter."""

    code: ClassVar[str] = "submission.not-the-submitter"


class NotEligible(InvalidTransaction):
    """An account that was no verifier at the submission's snapshot, or is the submitter."""

    code: ClassVar[str] = "verifier.not-eligible"


class AlreadyAttested(InvalidTransaction):
    """A second attestation by the same verifier."""

    code: ClassVar[str] = "verifier.already-attested"


class CommitmentMalformed(InvalidTransaction):
    """A commitment that is not 32 bytes, or a list that is not ascending, empty, or of the wrong length."""

    code: ClassVar[str] = "vote.malformed"


class NotDrawn(InvalidTransaction):
    """A flag by a verifier who is not in the quorum."""

    code: ClassVar[str] = "verifier.not-drawn"


class FlagRefused(InvalidTransaction):
    """An interval that does not exist, is judged anyway, or is one flag too many."""

    code: ClassVar[str] = "verifier.flag"


class NotAssigned(InvalidTransaction):
    """A vote about an interval that the verifier is not assigned to, or by a verifier without intervals of its own."""

    code: ClassVar[str] = "vote.not-assigned"


class AlreadyCommitted(InvalidTransaction):
    """A second commitment, or an abstention after a commitment, for the same interval and round."""

    code: ClassVar[str] = "vote.already-committed"


class NotCommitted(InvalidTransaction):
    """A reveal of a vote that was not committed in this round."""

    code: ClassVar[str] = "vote.not-committed"


class AlreadyRevealed(InvalidTransaction):
    """A second reveal of the same vote."""

    code: ClassVar[str] = "vote.already-revealed"


class CommitmentBroken(InvalidTransaction):
    """A revealed vote or secret that is not the one that was committed."""

    code: ClassVar[str] = "vote.commitment-broken"


class VoteRefused(InvalidTransaction):
    """A vote that contradicts itself or the claim: outcome, roots, leaves, replays."""

    code: ClassVar[str] = "vote.refused"


class OpeningRefused(InvalidTransaction):
    """The checkpoints of an interval are missing, or do not stand under the submission's root."""

    code: ClassVar[str] = "vote.opening"


class EquivocationUnproven(InvalidTransaction):
    """Two transactions that do not prove that an account contradicted itself, or did so already."""

    code: ClassVar[str] = "equivocation.unproven"
